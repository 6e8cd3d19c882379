"""The held-out file (``data.eval``) over the batches of a run: whether it is the same one, and what is best by it.

A trainer knows the best checkpoint by the state that it resumes from. Whether its value can be compared, and whether
the checkpoint is still there, is known here: each leg is told what the best one is as it begins.
"""

import os

from audit.backend.training import Note
from audit.errors import AuditError, ConfigError
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.training.config import TrainConfig
from audit.training.data_files import DataFile, digest_of, seen
from audit.training.drafting import Work
from audit.training.events import Emit


class HeldOut:
    """The held-out file of one call."""

    def __init__(self, config: TrainConfig, registry: Registry, emit: Emit) -> None:
        self._config, self._registry, self._emit = config, registry, emit
        self._path: str | None = config.data.options.get("eval")
        self._read: tuple[DataFile, str] | None = None

    def prepared(self, work: Work, timeline: Timeline) -> Work:
        """Return the leg with the digest of the held-out file, and with the best checkpoint so far. Raises ConfigError.

        It is said if the file is not that of the steps before: the best one is then chosen anew.
        """
        if self._path is None:
            return work
        digest = self._digest(self._path)
        step = work.request.first_step
        before = timeline.held_out_at(step)
        if before is not None and before != digest:
            anew = ", and the best checkpoint is chosen anew" if self._config.best is not None else ""
            self._emit(
                Note(
                    f"data.eval: {self._path} is not the file of the evaluations up to step {step}: theirs cannot be "
                    f"compared with those that follow{anew}"
                )
            )
        request = work.request
        if self._config.best is not None and before == digest:
            request = request._replace(best=self._best(self._config.best, step))
        return work._replace(request=request, held_out=digest)

    def changed_meanwhile(self) -> None:
        """Say if the file was changed since a leg began: it is unknown which content that leg has read."""
        if self._path is None or self._read is None:
            return
        before = self._read[1]
        try:
            changed = self._digest(self._path) != before
        except ConfigError:
            changed = True  # the next leg reports that it is gone
        if changed:
            text = "was changed while a leg was trained: it is unknown which content its evaluations are of"
            self._emit(Note(f"data.eval: {self._path} {text}"))

    def _digest(self, path: str) -> str:
        file = seen(path, os.path.basename(path))
        if file is None:
            raise ConfigError(f"{self._config.path}: data.eval: {path} cannot be read: there is no such file")
        if self._read is None or self._read[0] != file:
            try:
                self._read = file, digest_of(file)
            except AuditError as error:
                raise ConfigError(f"{self._config.path}: data.eval: {error}") from error
        return self._read[1]

    def _best(self, metric: str, step: int) -> tuple[int, float] | None:
        """Return step and value of the best checkpoint up to ``step`` that is there, None if there is none."""
        from audit.views.best import choose
        from audit.views.inspection import inspect

        try:
            found = choose(inspect(self._config.run, self._config.verify, registry=self._registry), metric, until=step)
        except AuditError:
            return None  # nothing is evaluated yet
        return (found.best.step, found.best.value) if found.best and found.best.at == found.best.step else None
