"""The draft of the next leg: its examples and steps, their order, and the learning-rate schedule."""

import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from audit.backend.training import BadData, LegData, LegRequest, TrainingBackend
from audit.data.rows import Rows, count_rows, inspect
from audit.errors import AuditError, ConfigError
from audit.ledger.batch_events import LegBegun
from audit.ledger.batch_parts import Drawn, Part, digest_of_parts
from audit.ledger.batches import Leg
from audit.ledger.timeline import Timeline
from audit.training.config import PATTERNS, TrainConfig
from audit.training.data_files import DataFile, DataFiles
from audit.training.mixing import Source, draw, replayed
from audit.training.run_state import TrainRefused

REMEMBERED = 1 << 14
"""Files of which it is remembered what is in them."""


class Work(NamedTuple):
    """The next leg: what to train, of which batch. The batch began after step ``begun``.

    ``file`` is the data file where the user put it, ``held`` the same file under the name that the leg reads.
    ``rows`` is the digest of its rows. ``sources`` are the files of a batch of several, and then, with ``drawn`` of
    them, those of earlier batches of which examples are replayed; empty if the leg reads one data file as it is.
    ``read`` are the same under the names that are read. ``content`` is the digest of what the leg reads,
    ``held_out`` that of the file that it is evaluated on.
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
    sources: tuple[Source, ...] = ()
    drawn: tuple[Drawn, ...] = ()
    read: tuple[Source, ...] = ()
    content: str = ""
    held_out: str | None = None

    @property
    def own(self) -> tuple[Source, ...]:
        """The files of a batch of several."""
        return tuple(source for source in self.sources if source.rows is None)

    @property
    def paths(self) -> set[str]:
        """The data files of the batch, where the user put them."""
        return {source.file.path for source in self.own} or {self.file.path}

    @property
    def replayed(self) -> int:
        """How many rows of earlier batches are trained with it."""
        return sum(len(drawn.rows) for drawn in self.drawn)

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
            parts=[
                Part(source.digest, source.file.name, source.file.size, source.of_all, source.rows_digest)
                for source in (self.own if len(self.own) > 1 else ())
            ]
            or None,
            replay=self.drawn or None,
            held_out=self.held_out,
            best=request.best,
        )


class Drafting:
    """Drafts legs by one configuration; ``decay``: the waiting files are the last ones.

    ``skip_lost``: of earlier files that are gone nothing is replayed.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        files: DataFiles,
        processes: int,
        decay: bool,
        change: tuple[str, ...] = (),
        skip_lost: bool = False,
    ) -> None:
        self.changing = changing(config, trainer, change)
        """What the caller changes, from the next batch on."""
        self._config, self._trainer, self._files = config, trainer, files
        self._processes, self._decay, self._skip_lost = processes, decay, skip_lost
        self._rows: OrderedDict[DataFile, Rows] = OrderedDict()

    def draft(
        self,
        timeline: Timeline,
        file: DataFile,
        digest: str,
        step: int,
        checkpoint: str | None,
        past: tuple[Leg, int] | None,
        group: tuple[Source, ...] = (),
    ) -> Work:
        """Return the leg; ``past`` is the last leg of the same file and how many examples were trained by then.

        ``group`` are the files of a batch of several; ``file`` and ``digest`` then stand for all of them.

        Raises BadData for a file that cannot be trained, TrainRefused for one that the schedule does not allow,
        AuditError if the ledger and the file disagree.
        """
        config = self._config
        epochs = past[0].epochs if past is not None else config.data.epochs
        first = past[1] if past is not None else 0
        per_step = self._trainer.examples_per_step(config.settings, self._processes)
        sources = group
        drawn: tuple[Drawn, ...] = ()
        if group:
            examples: int | None = sum(source.of_all for source in group) * epochs
        else:
            examples = self._count(file, epochs, per_step)
        if self._trainer.reads_rows:
            replayed, drawn = self._replayed(timeline, group or (self.source(file, digest),), digest, step, past)
            examples = (examples or 0) + sum(source.size for source in replayed) * epochs
            sources = (*(group or (self.source(file, digest),)), *replayed) if replayed else group
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
        files = tuple(source.file for source in group) or (file,)
        horizon, decay_steps = self._horizon(timeline, file.name, files, step, last)
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
            processes=self._processes,
        )
        begun = min((item.first_step for item in timeline.legs if item.batch == digest), default=step)
        rows = None if group else self.rows_digest(file)
        begun = min(begun, step)
        return Work(
            request, digest, file, file, begun, examples, per_step, epochs, rows, sources, drawn, content=digest
        )

    def draft_group(
        self,
        timeline: Timeline,
        group: tuple[Source, ...],
        step: int,
        checkpoint: str | None,
        past: tuple[Leg, int] | None,
    ) -> Work:
        """Return the leg of several files as one batch; as :meth:`draft` otherwise."""
        name = f"{group[0].file.name} and {len(group) - 1} more"
        size = sum(source.file.size for source in group)
        all_of_them = DataFile(os.path.join(self._config.data.inbox, name), name, (size, 0, 0))
        digest = digest_of_parts(source.digest for source in group)
        return self.draft(timeline, all_of_them, digest, step, checkpoint, past, group)

    def source(self, file: DataFile, digest: str) -> Source:
        """Return a file of which all rows are trained. Raises BadData."""
        rows = self._inspected(file)
        return Source(file, digest, rows.digest, rows.count)

    def format_of(self, file: DataFile) -> str:
        """Return the format of a file's rows. Raises BadData."""
        return self._inspected(file).format

    def _replayed(
        self,
        timeline: Timeline,
        own: tuple[Source, ...],
        digest: str,
        step: int,
        past: tuple[Leg, int] | None,
    ) -> tuple[tuple[Source, ...], tuple[Drawn, ...]]:
        """Return the examples of earlier batches that are trained with a batch, and where they are.

        Those that were drawn when the batch began, else new ones: of the rows of the same format that were trained
        before. Raises TrainRefused if a file is gone.
        """
        data = self._config.data
        if past is not None:
            drawn = past[0].replay
        elif data.replay:
            mine = {source.digest for source in own}
            pool = [item for item in timeline.before(step) if item.digest not in mine]
            count = sum(source.of_all for source in own)
            drawn = draw(pool, data.replay, count, f"{self._config.seed}:{digest}:replay")
        else:
            return (), ()
        wanted = self.format_of(own[0].file)
        sources, kept = [], []
        for item in drawn:
            batch = timeline.batch(item.batch)
            file = self._files.find(batch) if batch is not None else None
            if file is None and past is None and self._skip_lost:
                continue
            if file is None:
                raise TrainRefused(_gone(item, own[0].file.name, data.done, past is not None))
            try:
                fits = self.format_of(file) == wanted
                there = self.source(file, item.batch)._replace(rows=item.rows)
            except BadData as error:
                if past is not None:
                    raise TrainRefused(
                        f"{own[0].file.name}: replays {item.file}, which cannot be read: {error}"
                    ) from error
                continue  # by another format of the configuration it was good
            if past is None and not fits:
                continue
            sources.append(there)
            kept.append(item)
        return tuple(sources), tuple(kept)

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
        if file not in self._rows:
            self._rows[file] = inspect(file.path, self._config.data.options.get("format", "auto"))
            while len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
        self._rows.move_to_end(file)
        return self._rows[file]

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
        self, timeline: Timeline, name: str, files: tuple[DataFile, ...], step: int, last: int | None
    ) -> tuple[int | None, int | None]:
        """Return the last step of the schedule and the number of its decay steps. Raises TrainRefused."""
        config = self._config
        horizon, decay_steps = config.total_steps, None
        if config.decay_steps is not None:
            last_leg = timeline.legs[-1] if timeline.legs else None
            horizon = last_leg.horizon if last_leg is not None else None
            decay_steps = (last_leg.decay_steps if last_leg is not None else None) or config.decay_steps
            if horizon is None and self._decay and last is not None:
                horizon = last + self._steps_of_the_others(timeline, files, step)
                decay_steps = min(config.decay_steps, horizon - step)
        if horizon is not None and (last or step + 1) > horizon:
            raise TrainRefused(
                f"{name}: would be trained to step {last}, but the schedule ends at step {horizon}: the learning rate "
                "has decayed by then and would jump; start a new run from these weights"
            )
        return horizon, decay_steps

    def _steps_of_the_others(self, timeline: Timeline, files: tuple[DataFile, ...], step: int) -> int:
        """Return how many steps the other waiting files will take."""
        data, mine = self._config.data, {file.path for file in files}
        per_step = self._trainer.examples_per_step(self._config.settings, self._processes)
        total = pending = 0
        pool = sum(item.rows or 0 for item in timeline.before(step)) + sum(
            self._count(file, 1, None) or 0 for file in files
        )
        format: str | None = None
        groups: list[int] = []
        for other in self._files.waiting():
            if other.path in mine or timeline.batch(self._files.digest(other)) is not None:
                continue
            try:
                count = self._count(other, 1, per_step)
                found = self.format_of(other) if data.group else None
            except BadData:
                continue  # it will be set aside
            if pending and found != format:
                groups.append(pending)
                pending = 0
            format, pending = found, pending + (count or 0)
            if pending >= (data.group or 0):
                groups.append(pending)
                pending = 0
        for rows in (*groups, pending):
            total += math.ceil((rows + min(pool, replayed(data.replay, rows))) * data.epochs / (per_step or 1))
            pool += rows
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


def _gone(drawn: Drawn, name: str, done: str, begun: bool) -> str:
    """Return why an earlier file cannot be replayed, and what to do."""
    text = (
        f"{name}: examples of {drawn.file} are replayed with it (data.replay), which is not in {done} as it was trained"
    )
    way = "put it back there" if begun else "put it back there, set data.replay to 0, or leave it out with --skip-lost"
    return f"{text}: it was moved away, deleted or changed; {way}"
