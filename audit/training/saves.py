"""What is found at each save within a leg, for its tracker: judged beside the training, in a thread of this process.

The training neither waits for it nor hears of it; under a launcher it runs in the same process, and no other one takes
part. One thread reads, so that the workers of the training keep the cores; what it has read is remembered in the
ledger, and need not be read again when the leg is judged.
"""

import os
import threading
from contextlib import suppress

from audit.backend.names import is_checkpoint, number_of
from audit.backend.training import Judged
from audit.errors import AuditError
from audit.judging.judged import judged_of
from audit.judging.verification import verify_report
from audit.manager import Registry
from audit.options import Options


class _Ended(AuditError):
    """The leg has ended, and is judged as a whole."""


class Saves:
    """The saves of one leg that begins after step ``first``: :meth:`reached` each step, :meth:`taken` what was found.

    Nothing raises. :meth:`end` it when the leg has ended.
    """

    def __init__(self, run: str, first: int, options: Options, registry: Registry) -> None:
        self._run, self._registry = run, registry
        self._options = options._replace(allow_empty=True, jobs=1)
        self._first = self._step = first
        self._seen: set[int] = set()
        self._found: list[Judged] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def reached(self, step: int) -> None:
        """Note that a step was trained: what was saved at an earlier one is whole."""
        with self._changed:
            if step <= self._step:
                return
            self._step = step
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._go_on, name="saves", daemon=True)
            self._thread.start()

    def taken(self) -> list[Judged]:
        """Return what was found at saves since the last time."""
        with self._changed:
            found, self._found = self._found, []
        return found

    def end(self) -> list[int]:
        """Break off; return the steps of saves that nothing was found of."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        return self._new()

    def _new(self) -> list[int]:
        """The steps of saves that were not judged: whole ones, as a save is over before the next step."""
        try:
            names = os.listdir(self._run)
        except OSError:
            return []
        steps = (number_of(name) for name in names if is_checkpoint(name))
        return sorted({step for step in steps if step is not None and self._first < step < self._step} - self._seen)

    def _go_on(self) -> None:
        looked = -1
        while True:
            with self._changed:
                while looked == self._step and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                looked = self._step
            new = self._new()
            if new:
                with suppress(Exception):  # whatever it is, the leg is judged at its end all the same, where it shows
                    self._judge(new)

    def _judge(self, steps: list[int]) -> None:
        report = verify_report(self._run, self._options, registry=self._registry, progress=self._goes_on)
        there = {item.step for item in report.checkpoints}
        with self._changed:
            self._found += [judged_of(report, step) for step in steps if step in there]
            self._seen |= {*steps}

    def _goes_on(self, new: int, total: int) -> None:
        if self._ended:
            raise _Ended("the leg has ended")
