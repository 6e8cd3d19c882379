"""The next leg of a configuration of `audit train`, judged when the guard is asked (``audit guard --config``)."""

import os

from audit.backend.training import TrainingBackend
from audit.findings import Severity
from audit.judging.decision import Decision, Limits
from audit.manager import Registry
from audit.options import Options
from audit.training.config import TrainConfig
from audit.training.forecast import forecast_next_leg
from audit.training.preflight import text_of


class NextLeg:
    """What is planned to be trained from what the guard hands out. ``lines``: what the user should know."""

    def __init__(
        self, run: str, config: TrainConfig, trainer: TrainingBackend, registry: Registry, processes: int | None
    ) -> None:
        self.lines: list[str] = []
        if os.path.realpath(config.run) != os.path.realpath(run):
            self.lines.append(f"note: {config.path} trains {config.run}; this run is checked as if it were that one")
        self._config = config._replace(run=os.path.abspath(run))
        self._trainer, self._registry, self._processes = trainer, registry, processes

    @property
    def options(self) -> Options:
        """By which options the run is judged."""
        return self._config.verify

    def limits(self, asked: Limits) -> Limits:
        """Return the limits of the table [guard], made stricter by what is ``asked``."""
        table = self._config.guard
        return asked._replace(
            strict=asked.strict or table.strict,
            exact=asked.exact or table.exact,
            max_rollback=table.max_rollback if asked.max_rollback is None else asked.max_rollback,
        )

    def veto(self, decision: Decision) -> str | None:
        """Return why the planned training may not resume from it, None if it may."""
        found = forecast_next_leg(self._config, self._trainer, self._registry, decision, self._processes)
        errors = []
        for item in found.findings:
            if item.severity is Severity.ERROR:
                errors.append(text_of(item))
            else:
                self.lines.append(f"{item.severity.value}: {text_of(item)}")
        self.lines += [f"note: {note}" for note in found.notes]
        return "; ".join([*errors, *([found.refusal] if found.refusal else [])]) or None
