"""The batches of a run, as its ledger records them: which example was trained in which step.

A run may go back: the guard hands out an older checkpoint. So the rows are replayed in order, and each leg cuts off
what was trained beyond its first step before. A batch that is rejected in its first leg was never begun, unless the
next leg begins at a later step: then it was trained up to there.

The ledger is untrusted: rows of any shape must do no harm, and replaying a hundred thousand of them must take no longer
than reading them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.ledger.back_events import DROPPED, Dropped, GoingBack, WentBack
from audit.ledger.batch_events import (
    DUPLICATE,
    FAILED,
    FINISHED,
    LOST,
    REJECTED,
    RETIRED,
    STOPPED,
    Adopted,
    BatchEvent,
    Changed,
    Dissolved,
    Duplicate,
    Failed,
    Finished,
    Known,
    LegBegun,
    Lost,
    Rejected,
    Retired,
    Stopped,
)
from audit.ledger.batch_parts import Drawn, Part

if TYPE_CHECKING:
    from audit.ledger.store import Row


class Leg(NamedTuple):
    """Steps of one batch that were trained in one go: ``first_step`` is followed by ``first_example``.

    ``last_step`` is where the batch was planned to end, or has ended; None if the backend decides and it has not ended.
    ``over``: nothing more of the batch will be trained, as it was rejected or its data file is lost. The others are as
    in :class:`audit.ledger.batch_events.LegBegun`.
    """

    batch: str
    file: str
    first_step: int
    last_step: int | None
    first_example: int
    examples: int | None
    examples_per_step: int | None
    epochs: int = 1
    order: str | None = None
    horizon: int | None = None
    decay_steps: int | None = None
    processes: int = 1
    over: bool = False
    base: Mapping[str, str] | None = None
    known: tuple[Known, ...] = ()
    rows: str | None = None
    changes: Mapping[str, float] = {}
    parts: tuple[Part, ...] = ()
    replay: tuple[Drawn, ...] = ()

    def example_at(self, step: int) -> int:
        """Return how many examples of the batch were trained after ``step``."""
        if self.examples_per_step is None:  # not counted: the batch is done when its planned end is
            return self.first_example
        done = self.first_example + (step - self.first_step) * self.examples_per_step
        return done if self.examples is None else min(done, self.examples)

    def whole_at(self, step: int) -> bool:
        """Whether the batch is complete after ``step``; false as long as its end is not known."""
        return self.over or (self.last_step is not None and step >= self.last_step)


class Batch(NamedTuple):
    """One data file and what became of it. Steps are those of the current history; times are UTC in ISO 8601.

    ``state`` is training, stopped, failed, finished, retired, rejected, lost or dropped; ``step`` is its newest known
    step, ``legs`` the number of its legs. ``failures`` counts those in a row at one step, ``failed_at``; ``kind`` is
    that of the last one (see :class:`audit.backend.training.LegFailed`). ``seconds`` is the sum over all legs that were
    not killed; ``to`` is where the data file went. ``parts`` are the data files of a batch of several, ``moved`` is
    where the retired ones went, by digest. ``replayed`` is how many rows of earlier batches were trained with it.
    """

    digest: str
    file: str
    state: str
    first_step: int
    last_step: int | None
    step: int
    examples: int | None
    epochs: int
    legs: int
    losses: tuple[tuple[int, float], ...]
    started: str
    ended: str | None
    reason: str | None
    failures: int
    failed_at: int | None = None
    kind: str | None = None
    seconds: float | None = None
    to: str | None = None
    parts: tuple[Part, ...] = ()
    moved: tuple[tuple[str, str | None], ...] = ()
    replayed: int = 0

    @property
    def trained(self) -> bool:
        """Whether it was trained to its end."""
        return self.state in (FINISHED, RETIRED)

    @property
    def rows(self) -> int | None:
        """How many rows of its own it has, None if they are not counted."""
        return None if self.examples is None else max(0, self.examples // max(self.epochs, 1) - self.replayed)

    @property
    def files(self) -> "tuple[Batch, ...]":
        """Its data files, each as if it were the batch; a batch of one file is that."""
        return tuple(self.file_of(part) for part in self.parts) or (self,)

    def file_of(self, part: Part) -> "Batch":
        """Return one of the files of a batch of several."""
        moved = dict(self.moved)
        state = RETIRED if part.batch in moved and self.trained else self.state
        return self._replace(
            digest=part.batch,
            file=part.file,
            state=state,
            examples=part.examples * self.epochs,
            to=moved.get(part.batch),
            parts=(),
            moved=(),
            replayed=0,
        )


class SetAside(NamedTuple):
    """A data file that was not trained.

    ``event`` is rejected (bad data), duplicate (trained before), lost (gone) or dropped (a person gave it up).
    """

    file: str
    digest: str
    event: str
    reason: str
    to: str | None
    time: str


class Return(NamedTuple):
    """The run was taken back to ``checkpoint`` (``--back-to``); ``dropped`` are names of files, ``time`` is UTC."""

    checkpoint: str
    step: int
    dropped: tuple[str, ...]
    time: str


class Timeline(NamedTuple):
    """``legs`` in the order of their steps; ``batches`` in the order of their first legs; ``aside``: not trained.

    ``redo`` are batches whose steps were given up when the run went back, in the order in which they are trained again.
    ``adopted``: the steps up to this one may be of no batch; ``adopted_files``: names by digest of files that count as
    trained. A person said so, see :class:`audit.ledger.batch_events.Adopted`.

    ``returns``: how the run was taken back; ``returning``: the one that is not finished, without the batches whose
    files were moved already; ``given_up``: steps after this one are given up, though no leg was begun since; None: no
    such step. ``dropped``: files that are never to be trained again, by the digests of their bytes and of their rows.
    ``changes``: settings that a person changed, in order; :meth:`settings_at` has those that are in effect.
    """

    legs: tuple[Leg, ...] = ()
    batches: tuple[Batch, ...] = ()
    aside: tuple[SetAside, ...] = ()
    redo: tuple[Batch, ...] = ()
    adopted: int = 0
    adopted_files: Mapping[str, str] = {}
    returns: tuple[Return, ...] = ()
    returning: GoingBack | None = None
    given_up: int | None = None
    dropped: Mapping[str, str] = {}
    changes: tuple[Changed, ...] = ()

    def owner(self, step: int) -> Leg | None:
        """Return the leg whose batch goes on after ``step``, None if there is none.

        A batch that is complete at ``step`` is returned until another one begins.
        """
        index = bisect_right(self.legs, step, key=lambda leg: leg.first_step)
        return self.legs[index - 1] if index else None

    def base_at(self, step: int) -> Mapping[str, str] | None:
        """Return the identity of the base model that the steps up to ``step`` were trained on, None if unknown."""
        return next((leg.base for leg in reversed(self.legs) if leg.base and leg.first_step < step), None)

    def beyond(self, step: int) -> tuple[Batch, ...]:
        """Return the batches that follow the owner of ``step``: those begun later, and those given up."""
        owner = self.owner(step)
        later = dict.fromkeys(leg.batch for leg in self.legs if leg.first_step > step)
        known = {item.digest: item for item in self.batches}
        over = {leg.batch for leg in self.legs if leg.over}
        ahead = [known[digest] for digest in later if digest not in over and (owner is None or digest != owner.batch)]
        return (*ahead, *(item for item in self.redo if item.digest not in later))

    def settings_at(self, step: int) -> Mapping[str, float]:
        """Return the changed settings that the checkpoint of ``step`` was trained with."""
        found: dict[str, float] = {}
        for leg in self.legs:
            if leg.first_step < step:
                found.update(leg.changes)
        return found

    def wanted_at(self, step: int) -> Mapping[str, float]:
        """Return the changed settings that a batch which begins at ``step`` is to be trained with."""
        return {name: value for item in self.changes if item.step <= step for name, value in item.settings.items()}

    def changed_between(self, name: str, before: int, after: int) -> bool:
        """Whether a setting was changed after the step ``before`` and before the step ``after``."""
        return any(name in leg.changes and before <= leg.first_step < after for leg in self.legs if leg.changes)

    def begins_between(self, before: int, after: int) -> bool:
        """Whether a leg begins after one of two logged steps and before the other."""
        index = bisect_left(self.legs, before, key=lambda leg: leg.first_step)
        return index < len(self.legs) and self.legs[index].first_step < after

    def unseen(self, step: int) -> bool:
        """Whether ``step`` trained examples that no step before had: it is in the first epoch of its batch."""
        owner = self.owner(step - 1)
        if owner is None or owner.examples is None or owner.examples_per_step is None:
            return True
        epochs = owner.epochs
        return owner.example_at(step - 1) * epochs < owner.examples

    def trained(self, digest: str, step: int) -> tuple[Leg, int] | None:
        """Return the last leg of a batch up to ``step``, and how many of its examples were trained by then.

        None if none were. Another batch may have followed before it was complete, if its file was gone.
        """
        end = step
        for leg in reversed(self.legs):
            if leg.first_step > step:
                continue
            if leg.batch == digest:
                return leg, leg.example_at(end)
            end = leg.first_step
        return None

    def known(self, digest: str) -> tuple[Known, ...]:
        """Return the errors that were in the run before the first step of a batch."""
        return next((leg.known for leg in self.legs if leg.batch == digest), ())

    def of_rows(self, rows: str | None) -> Batch | None:
        """Return the batch that was trained to its end on these rows, whatever the bytes of its file; None if none."""
        if rows is None:
            return None
        digests = {leg.batch for leg in self.legs if leg.rows == rows}
        digests |= {part.batch for leg in self.legs for part in leg.parts if part.rows == rows}
        found = (file for item in self.batches for file in item.files)
        return next((item for item in found if item.digest in digests and item.state == RETIRED), None)

    def batch(self, digest: str) -> Batch | None:
        """Return the batch of this data file; of a batch of several files, the part that is this one."""
        known = (*self.batches, *self.redo)
        found = next((item for item in known if item.digest == digest), None)
        if found is not None:
            return found
        parts = [item.file_of(part) for item in known for part in item.parts if part.batch == digest]
        return max(parts, key=lambda item: item.trained, default=None)  # it may have been in one that was given up

    def before(self, step: int) -> tuple[Batch, ...]:
        """Return the data files that were trained to their end up to ``step``, in the order of their first legs."""
        over = {leg.batch for leg in self.legs if leg.over}
        ended = (item for item in self.batches if item.trained and item.digest not in over)
        return tuple(file for item in ended if item.step <= step for file in item.files)


def timeline_of(rows: "Iterable[Row]") -> Timeline:
    """Replay the ledger's batch rows. Rows of another shape, perhaps of a newer version, are passed over."""
    replay = _Replay()
    for row in rows:
        if isinstance(row.event, BatchEvent):
            replay.add(row.event, row.time)
    return replay.timeline()


def batch_rows_until(rows: "Iterable[Row]", step: int) -> Iterator[tuple[BatchEvent, str]]:
    """Yield with their times the batch rows of what was trained up to ``step``: replayed, the timeline at that step.

    A batch that ended later is in the middle there, and one that began later is not known.
    """
    ended: dict[str, bool] = {}
    parts: dict[str, Sequence[Part]] = {}
    for row in rows:
        event = row.event
        if isinstance(event, LegBegun):
            kept = event.first_step <= step
            if kept:
                parts[event.batch] = event.parts or ()
                ended.update(dict.fromkeys((event.batch, *(part.batch for part in parts[event.batch])), False))
        elif isinstance(event, Finished):
            kept = event.batch in ended and (event.last_step or 0) <= step
            if kept:
                ended.update(dict.fromkeys((event.batch, *(part.batch for part in parts[event.batch])), True))
        elif isinstance(event, Retired):
            kept = ended.get(event.batch, False)
        elif isinstance(event, Stopped | Failed | Lost):
            kept = event.batch in ended and (event.step or 0) <= step
        elif isinstance(event, Rejected | Dissolved):
            kept = event.batch in ended
        elif isinstance(event, Changed):
            kept = event.step <= step
        else:
            kept = isinstance(event, Adopted | Duplicate | GoingBack | Dropped)
        if kept:
            assert isinstance(event, BatchEvent)
            yield event, row.time
        if isinstance(event, GoingBack):
            yield WentBack(event.step), row.time  # what is copied is one checkpoint: nothing is left to do


class _Replay:
    """The state after the rows so far."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.batches: dict[str, Batch] = {}
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self.held: dict[str, int] = {}
        """Number of legs of each batch."""
        self.redo: dict[str, None] = {}
        """Batches to train again; the last one is trained first."""
        self.over: set[str] = set()
        self.dropped: Leg | None = None
        """The only leg of a batch that was rejected just now."""
        self.since: dict[str, str] = {}
        """When the current leg of each batch began."""
        self.aside: list[SetAside] = []
        self.adopted = 0
        self.adopted_files: dict[str, str] = {}
        self.returns: list[Return] = []
        self.returning: GoingBack | None = None
        self.given_up: int | None = None
        self.barred: dict[str, str] = {}
        """Names by digest of the files that a person dropped."""
        self.changes: list[Changed] = []
        self.rows: dict[str, str] = {}
        """Digests of the rows of each batch."""
        self.whole: dict[str, str] = {}
        """The batch of each file that is one of several."""

    def timeline(self) -> Timeline:
        legs = [item._replace(over=True) if item.batch in self.over else item for item in self.legs]
        batches = [item._replace(losses=tuple(self.losses.get(item.digest, ()))) for item in self.batches.values()]
        found = {item.digest: item for item in batches}
        kept = [found[digest] for digest in dict.fromkeys(item.batch for item in legs)]
        redo = [found[digest] for digest in reversed(self.redo)]
        barred = dict(self.barred)
        barred |= {self.rows[digest]: file for digest, file in self.barred.items() if digest in self.rows}
        return Timeline(
            tuple(legs),
            tuple(kept),
            tuple(self.aside),
            tuple(redo),
            self.adopted,
            self.adopted_files,
            tuple(self.returns),
            self.returning,
            self.given_up,
            barred,
            tuple(self.changes),
        )

    def add(self, event: BatchEvent, time: str) -> None:
        if isinstance(event, LegBegun):
            if event.last_step is None or event.last_step >= event.first_step:
                self._begin(_leg(event), time)
            return
        if isinstance(event, GoingBack | WentBack):
            self._go_back(event, time)
            return
        if isinstance(event, Changed):
            self.changes.append(event)
            return
        digest = event.batch
        if isinstance(event, Dropped) and self.returning is not None:
            left = tuple(item for item in self.returning.drop if item[0] != digest)
            self.returning = self.returning._replace(drop=left)
        if isinstance(event, Adopted):
            self.adopted = max(self.adopted, event.step)
            if digest:
                self.adopted_files[digest] = event.file
            return
        if isinstance(event, Rejected | Duplicate | Lost | Dropped):
            self.aside.append(_aside(event, time))
        if isinstance(event, Retired) and digest in self.whole:
            self._retire_part(event)
            return
        batch = self.batches.get(digest)
        if batch is None or isinstance(event, Duplicate | Dropped):
            return
        if isinstance(event, Rejected | Lost | Dissolved):
            self.over.add(digest)
            self.redo.pop(digest, None)
            last = self.legs[-1] if self.legs else None
            first = last is not None and last.batch == digest and self.held[digest] == 1 and not last.first_example
            if isinstance(event, Rejected | Dissolved) and first:
                self.dropped = self.legs.pop()
                self.held[digest] = 0
            reason = event.reason if isinstance(event, Rejected) else None
            state = LOST if isinstance(event, Lost) else REJECTED
            self.batches[digest] = batch._replace(state=state, ended=time, reason=reason)
        elif isinstance(event, Retired):
            self.batches[digest] = batch._replace(state=RETIRED, to=event.to)
        elif self.held.get(digest):
            self._end(batch, event, time)

    def _go_back(self, event: GoingBack | WentBack, time: str) -> None:
        """Nothing is cut off yet: until a leg begins, the checkpoints that were set aside can still be restored."""
        if isinstance(event, WentBack):
            self.returning = None
            return
        self.returns.append(Return(event.checkpoint, event.step, tuple(file for _, file in event.drop), time))
        self.returning, self.given_up = event, event.step
        for digest, file in event.drop:
            self.barred[digest] = file
            self.over.add(digest)
            self.redo.pop(digest, None)
            if digest in self.batches:
                self.batches[digest] = self.batches[digest]._replace(state=DROPPED, ended=time, reason=None)

    def _retire_part(self, event: Retired) -> None:
        """One of several files is retired; the batch is when all are."""
        digest = self.whole[event.batch]
        batch = self.batches[digest]
        moved = {**dict(batch.moved), event.batch: event.to}
        all_of_them = batch.state == FINISHED and all(part.batch in moved for part in batch.parts)
        self.batches[digest] = batch._replace(moved=tuple(moved.items()), state=RETIRED if all_of_them else batch.state)

    def _begin(self, leg: Leg, time: str) -> None:
        digest, first = leg.batch, leg.first_step
        self.given_up = None
        self.barred.pop(digest, None)
        if leg.rows is not None:
            self.rows[digest] = leg.rows
        if self.dropped is not None and self.dropped.batch != digest and self.dropped.first_step < first:
            self.legs.append(self.dropped)  # some of it was trained and saved before its bad row was met
            self.held[self.dropped.batch] = 1
        self.dropped = None
        gone: dict[str, None] = {}
        while self.legs and self._replaced(self.legs[-1], leg):
            cut = self.legs.pop().batch
            self.held[cut] -= 1
            gone[cut] = None
        for cut in gone:  # the last one first, as in ``redo``
            if not self.held[cut] and cut not in self.over:
                self.redo.pop(cut, None)
                self.redo[cut] = None
        self.redo.pop(digest, None)
        self.over.discard(digest)
        if self.legs and self.legs[-1].batch != digest:
            self._cut_short(self.legs[-1].batch, first)
        before = self.batches.get(digest)
        goes_on = before is not None and self.held.get(digest, 0) > 0
        self.since[digest] = time
        self.legs.append(leg)
        self.held[digest] = self.held.get(digest, 0) + 1
        losses = self.losses.setdefault(digest, [])
        while losses and (not goes_on or losses[-1][0] > first):
            losses.pop()
        self.batches[digest] = Batch(
            digest,
            leg.file,
            "training",
            before.first_step if before is not None and goes_on else first,
            leg.last_step,
            first,
            leg.examples,
            leg.epochs,
            (before.legs if before else 0) + 1,
            (),
            before.started if before else time,
            None,
            None,
            before.failures if before else 0,
            before.failed_at if before else None,
            None,
            before.seconds if before else None,
            parts=leg.parts,
            replayed=sum(len(drawn.rows) for drawn in leg.replay),
        )
        self.whole.pop(digest, None)
        self.whole.update((part.batch, digest) for part in leg.parts)

    def _replaced(self, item: Leg, new: Leg) -> bool:
        """Whether a new leg replaces an earlier one; a batch without a single step stays at the step of the next."""
        if item.first_step != new.first_step:
            return item.first_step > new.first_step
        return item.batch == new.batch or not item.whole_at(new.first_step)

    def _cut_short(self, digest: str, step: int) -> None:
        """Another batch begins at ``step``: if this one was not complete there, it was given up."""
        batch = self.batches[digest]
        last = batch.last_step if batch.last_step is None else min(batch.last_step, step)
        self.batches[digest] = batch._replace(step=min(batch.step, step), last_step=last)
        losses = self.losses.get(digest, [])
        while losses and losses[-1][0] > step:
            losses.pop()

    def _end(self, batch: Batch, event: Finished | Stopped | Failed, time: str) -> None:
        digest = batch.digest
        step = event.last_step if isinstance(event, Finished) else event.step
        step = batch.step if step is None else step
        if not isinstance(event, Failed) and event.losses:
            losses = self.losses.setdefault(digest, [])
            while losses and losses[-1][0] >= event.losses[0][0]:
                losses.pop()
            losses.extend(event.losses)
        seconds = _between(self.since.pop(digest, ""), time)
        if seconds is not None:
            batch = batch._replace(seconds=(batch.seconds or 0.0) + seconds)
        batch = batch._replace(step=step, ended=time, kind=None)
        if isinstance(event, Finished):
            examples = batch.examples if event.examples is None else event.examples
            self.batches[digest] = batch._replace(
                state=FINISHED, last_step=step, examples=examples, reason=None, failures=0
            )
            if self.legs[-1].batch == digest:
                leg = self.legs[-1]
                self.legs[-1] = leg._replace(last_step=max(step, leg.first_step), base=event.base or leg.base)
        elif isinstance(event, Stopped):
            self.batches[digest] = batch._replace(state=STOPPED, reason=_signal(event.signal))
        else:
            failures = batch.failures + 1 if batch.failed_at == step else 1
            self.batches[digest] = batch._replace(
                state=FAILED, reason=event.reason, kind=event.kind, failures=failures, failed_at=step
            )


def _leg(event: LegBegun) -> Leg:
    return Leg(
        event.batch,
        event.file,
        event.first_step,
        event.last_step,
        event.first_example,
        event.examples,
        event.examples_per_step,
        event.epochs,
        event.order,
        event.horizon,
        event.decay_steps,
        event.processes,
        base=event.base,
        known=tuple(event.known or ()),
        rows=event.rows,
        changes=event.changes or {},
        parts=tuple(event.parts or ()),
        replay=tuple(event.replay or ()),
    )


def _aside(event: Rejected | Duplicate | Lost | Dropped, time: str) -> SetAside:
    if isinstance(event, Lost):
        return SetAside(event.file, event.batch, LOST, "", None, time)
    if isinstance(event, Dropped):
        return SetAside(event.file, event.batch, DROPPED, "", event.to, time)
    word = REJECTED if isinstance(event, Rejected) else DUPLICATE
    return SetAside(event.file, event.batch, word, event.reason or "", event.to, time)


def _between(start: str, end: str) -> float | None:
    """Seconds between two times of rows, which may be any text."""
    from datetime import datetime

    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if seconds >= 0 else None


def _signal(number: int | None) -> str:
    return {2: "SIGINT", 15: "SIGTERM"}.get(number or 0, "a signal")
