"""The draft of the next leg: its examples and steps, their order, and the learning-rate schedule."""

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

from audit.backend.training import BadData, LegData, LegRequest, TrainingBackend
from audit.data.rows import Rows, count_rows, inspect
from audit.errors import AuditError, ConfigError
from audit.ledger.batch_events import LegBegun
from audit.ledger.timeline import Leg, Timeline
from audit.training.config import PATTERNS, TrainConfig
from audit.training.data_files import DataFile, DataFiles
from audit.training.run_state import TrainRefused


class Work(NamedTuple):
    """The next leg: what to train, of which batch. The batch began after step ``begun``.

    ``file`` is the data file where the user put it, ``held`` the same file under the name that the leg reads.
    ``rows`` is the digest of its rows.
    """

    request: LegRequest
    batch: str
    file: DataFile
    held: DataFile
    begun: int
    examples: int | None
    per_step: int | None
    epochs: int
    rows: str | None = None

    def shown(self, text: str) -> str:
        """Return a text of the backend with the path of the data file that the user knows."""
        return text.replace(self.held.path, self.file.path)

    def row(self, processes: int) -> LegBegun:
        """Return what the ledger records when the leg begins, trained by so many ``processes``."""
        request = self.request
        return LegBegun(
            batch=self.batch,
            file=self.file.name,
            bytes=self.file.size,
            first_step=request.first_step,
            last_step=request.last_step,
            first_example=request.data.first,
            examples=self.examples,
            examples_per_step=self.per_step,
            epochs=self.epochs,
            order=request.data.order,
            seed=request.seed,
            horizon=request.horizon,
            decay_steps=request.decay_steps,
            processes=processes,
            resumed_from=os.path.basename(request.resume_from) if request.resume_from else None,
            rows=self.rows,
            changes=request.changes or None,
        )


class Drafting:
    """Drafts legs by one configuration; ``decay``: the waiting files are the last ones."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        files: DataFiles,
        processes: int,
        decay: bool,
        change: tuple[str, ...] = (),
    ) -> None:
        self.changing = changing(config, trainer, change)
        """What the caller changes, from the next batch on."""
        self._config, self._trainer, self._files = config, trainer, files
        self._processes, self._decay = processes, decay
        self._rows: tuple[DataFile, Rows] | None = None

    def draft(
        self,
        timeline: Timeline,
        file: DataFile,
        digest: str,
        step: int,
        checkpoint: str | None,
        past: tuple[Leg, int] | None,
    ) -> Work:
        """Return the leg; ``past`` is the last leg of the same file and how many examples were trained by then.

        Raises BadData for a file that cannot be trained, TrainRefused for one that the schedule does not allow,
        AuditError if the ledger and the file disagree.
        """
        config = self._config
        epochs = past[0].epochs if past is not None else config.data.epochs
        first = past[1] if past is not None else 0
        per_step = self._trainer.examples_per_step(config.settings, self._processes)
        examples = self._count(file, epochs, per_step)
        if past is not None:
            told = past[0].examples
            if examples not in (None, told) and (told is not None or self._trainer.reads_rows):
                raise AuditError(
                    f"{file.path}: has {examples} examples, but the ledger says {told}: one of them was edited, so it is unknown "
                    "which examples were trained; start a new run from the newest checkpoint"
                )
            examples = told
        order = past[0].order if past is not None else f"{config.seed}:{digest}" if config.data.shuffle else None
        last = None
        if per_step is not None and examples is not None:
            last = step + math.ceil((examples - first) / per_step)
        horizon, decay_steps = self._horizon(timeline, file, step, last)
        request = LegRequest(
            run=config.run,
            resume_from=os.path.join(config.run, checkpoint) if checkpoint is not None else None,
            first_step=step,
            last_step=last,
            data=LegData(file.path, order, epochs, first, config.data.options),
            settings=config.settings,
            seed=config.seed,
            horizon=horizon,
            decay_steps=decay_steps,
            changes=self._changes(timeline, step) if checkpoint is not None and not first else {},
        )
        begun = min((item.first_step for item in timeline.legs if item.batch == digest), default=step)
        return Work(request, digest, file, file, min(begun, step), examples, per_step, epochs, self.rows_digest(file))

    def _changes(self, timeline: Timeline, step: int) -> Mapping[str, float]:
        """Return the settings to put into effect before the first step of a batch that begins at ``step``.

        A batch is trained with the same settings from its beginning to its end, however it is cut into legs.
        """
        wanted = {**timeline.wanted_at(step), **self.changing}
        there = timeline.settings_at(step)
        return {name: value for name, value in wanted.items() if there.get(name) != value}

    def refusal(self, file: DataFile) -> str | None:
        """Return why the rows of a file cannot be trained, None if they can, as far as is known before the leg."""
        per_step = self._trainer.examples_per_step(self._config.settings, self._processes)
        try:
            self._count(file, 1, per_step)
        except BadData as error:
            return error.reason
        return None

    def rows_digest(self, file: DataFile) -> str | None:
        """Return the digest of a file's rows, None if only the backend can read them. Raises BadData."""
        return self._inspected(file).digest if self._trainer.reads_rows else None

    def _inspected(self, file: DataFile) -> Rows:
        if self._rows is None or self._rows[0] != file:
            self._rows = file, inspect(file.path, self._config.data.options.get("format", "auto"))
        return self._rows[1]

    def _count(self, file: DataFile, epochs: int, per_step: int | None) -> int | None:
        """Return how many examples a file has; None if it is not needed, or if only the backend can read the file."""
        if self._trainer.reads_rows:
            return self._inspected(file).count * epochs
        name = file.name.lower()
        if per_step is None or not name.endswith(tuple(pattern[1:] for pattern in PATTERNS)):
            return None
        try:
            return count_rows(file.path) * epochs
        except BadData:
            if name.endswith((".json", ".json.gz", ".json.zst")):
                return None  # a document of another kind, which the launcher may know how to read
            raise

    def _horizon(
        self, timeline: Timeline, file: DataFile, step: int, last: int | None
    ) -> tuple[int | None, int | None]:
        """Return the last step of the schedule and the number of its decay steps. Raises TrainRefused."""
        config = self._config
        horizon, decay_steps = config.total_steps, None
        if config.decay_steps is not None:
            last_leg = timeline.legs[-1] if timeline.legs else None
            horizon = last_leg.horizon if last_leg is not None else None
            decay_steps = (last_leg.decay_steps if last_leg is not None else None) or config.decay_steps
            if horizon is None and self._decay and last is not None:
                horizon = last + self._steps_of_the_others(timeline, file)
                decay_steps = min(config.decay_steps, horizon - step)
        if horizon is not None and (last or step + 1) > horizon:
            raise TrainRefused(
                f"{file.name}: would be trained to step {last}, but the schedule ends at step {horizon}: the learning rate "
                "has decayed by then and would jump; start a new run from these weights"
            )
        return horizon, decay_steps

    def _steps_of_the_others(self, timeline: Timeline, file: DataFile) -> int:
        """Return how many steps the other waiting files will take."""
        per_step = self._trainer.examples_per_step(self._config.settings, self._processes)
        total = 0
        for other in self._files.waiting():
            if other.path == file.path or timeline.batch(self._files.digest(other)) is not None:
                continue
            try:
                count = self._count(other, self._config.data.epochs, per_step)
            except BadData:
                continue  # it will be set aside
            total += math.ceil((count or 0) / (per_step or 1))
        return total


def changing(config: TrainConfig, trainer: TrainingBackend, names: tuple[str, ...]) -> Mapping[str, float]:
    """Return the values of the settings that are changed, from the configuration. Raises ConfigError."""
    if not names:
        return {}
    asked = getattr(trainer, "changeable", None)
    known = asked(config.settings) if asked is not None else None
    if known is None:
        raise ConfigError(f"--change: the backend {trainer.name} cannot change a setting between two batches")
    for name in names:
        if name not in known:
            there = f"it sets {', '.join(known)}" if known else "it sets nothing that can be changed"
            raise ConfigError(
                f"--change {name}: the new value is that of the configuration, and {config.path} has none; {there}"
            )
    return {name: known[name] for name in names}
