"""From the rows of a ledger to the :class:`audit.ledger.timeline.Timeline` of its batches.

A run may go back: the guard hands out an older checkpoint. So the rows are replayed in order, and each leg cuts off
what was trained beyond its first step before. A batch that is rejected in its first leg was never begun, unless the
next leg begins at a later step: then it was trained up to there.

The ledger is untrusted: rows of any shape must do no harm, and replaying a hundred thousand of them must take no longer
than reading them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

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
    LegBegun,
    Lost,
    Rejected,
    Retired,
    Stopped,
)
from audit.ledger.batch_parts import Part

if TYPE_CHECKING:
    from audit.ledger.store import Row

from audit.ledger.batches import Batch, Leg, Return, SetAside
from audit.ledger.timeline import Timeline


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
        for part in leg.parts:
            self.barred.pop(part.batch, None)
            if part.rows is not None:
                self.rows[part.batch] = part.rows
        if self.dropped is not None and self.dropped.batch != digest and self.dropped.first_step < first:
            self.legs.append(self.dropped)  # some of it was trained and saved before its bad row was met
            self.held[self.dropped.batch] = 1
        self.dropped = None
        gone: dict[str, None] = {}
        while self.legs and self._replaced(self.legs[-1], leg):
            cut = self.legs.pop().batch
            self.held[cut] -= 1
            gone[cut] = None
        last = self.legs[-1].batch if self.legs else None
        for cut in gone:  # the last one first, as in ``redo``
            # A batch that was trained in two parts, with another one between them, has lost the second.
            if cut not in self.over and (not self.held[cut] or cut != last):
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
        held_out=event.held_out,
        best=event.best,
        seed=event.seed,
        machine=event.machine,
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
