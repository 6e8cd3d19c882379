"""Whether as many processes as will resume can resume from what the guard hands out (``audit guard --processes``)."""

import os

from audit.facts.world import world_change, world_of
from audit.judging.auditor import Auditor
from audit.judging.decision import Decision
from audit.manager import Registry
from audit.options import Options


class Processes:
    """The ``number`` of processes that will resume. ``lines``: what the user should know, once it was asked."""

    def __init__(self, run: str, number: int, options: Options, registry: Registry) -> None:
        self.lines: list[str] = []
        self._run, self._number, self._auditor = run, number, Auditor(options, registry)

    def veto(self, decision: Decision) -> str | None:
        """Return why so many processes cannot resume from it, None if they can."""
        if decision.checkpoint is None:
            return None
        home, name = os.path.split(decision.checkpoint)  # a pin has its own
        run = self._auditor.open_quick(os.path.join(self._run, home))
        checkpoint = next((item for item in run.checkpoints if item.name == name), None)
        if checkpoint is None:
            return None
        if not world_of(checkpoint):
            self.lines.append(f"note: {name} does not show how many processes saved it")
        change = world_change(checkpoint, self._number)
        if change is None:
            return None
        if not change.works:
            return f"{name} was saved by {change.before} processes and {change.now} will resume: {change.text}"
        self.lines.append(f"warning: {name} was saved by {change.before} and {change.now} will resume: {change.text}")
        return None
