"""The batches of a run, as its ledger tells them: which example was trained in which step.

Rows of kind "batch" have an ``event``:

* ``leg``: training begins. ``batch`` (digest of the data file), ``file`` (its name), ``first_step``, ``last_step`` (planned,
  None where the backend decides), ``first_example``, ``examples`` (rows x epochs; None where they are not counted),
  ``examples_per_step``, ``epochs``, ``resumed_from``, and what else makes the leg (seed, horizon, decay_steps).
* ``finished``: the batch is trained and its last checkpoint proven. ``batch``, ``file``, ``first_step`` (of the batch),
  ``last_step``, ``examples``, ``checkpoint``, ``losses`` ([step, loss], thinned), ``seconds``.
* ``stopped`` (``step``, ``signal``), ``failed`` (``step``, ``kind``, ``reason``): the leg ended early; the data file is still there.
* ``retired``, ``rejected``, ``duplicate``: where the data file went (``to``), and why (``reason``). A batch that is
  rejected in its first leg was never begun, unless the next leg begins at a later step: then it was trained up to there.
* ``lost``: the batch was given up by a step back, and its data file is gone; the user said to go on without it.

A run may go back: the guard hands out an older checkpoint. The leg that follows then says what holds from its first step
on, so the rows are replayed in their order, each leg cutting off what reached beyond its beginning.

The ledger comes with the audited run: rows of any shape must do no harm, and a hundred thousand of them take no longer
than their reading.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from audit.ledger.store import Row

LEG, FINISHED, STOPPED, FAILED = "leg", "finished", "stopped", "failed"
RETIRED, REJECTED, DUPLICATE, LOST = "retired", "rejected", "duplicate", "lost"


class Segment(NamedTuple):
    """Steps of one batch in one go: after ``first_step`` come the examples from ``first_example`` on.

    ``last_step`` is where the batch was planned to end, or has ended; None where the backend decides and it has not.
    ``over``: nothing more of the batch will be trained, wherever it stands: it was rejected, or its data file is lost.
    """

    batch: str
    file: str
    first_step: int
    last_step: int | None
    first_example: int
    examples: int | None
    examples_per_step: int | None
    plan: Mapping[str, Any]
    over: bool = False

    def example_at(self, step: int) -> int:
        """How many examples of the batch were trained once ``step`` was done."""
        if self.examples_per_step is None:  # not counted: the batch is done when its planned end is
            return self.first_example
        done = self.first_example + (step - self.first_step) * self.examples_per_step
        return done if self.examples is None else min(done, self.examples)

    def whole_at(self, step: int) -> bool:
        """Whether nothing of the batch is left once ``step`` was done; never before it is known how long it is."""
        return self.over or (self.last_step is not None and step >= self.last_step)


class Batch(NamedTuple):
    """One data file and what became of it. Steps are those of the history that holds; ``time`` is UTC in ISO 8601.

    ``state`` is one of training, stopped, failed, finished, retired, rejected, lost; ``step`` is the newest step known of
    it, ``legs`` how often it was taken up. ``failures`` counts those in a row at one step, ``failed_at``; ``kind`` is that
    of the last one (see :class:`audit.backend.training.LegFailed`). ``seconds`` from the beginning to the end of each leg, but for those
    that were killed; ``to``: where the data file went.
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


class SetAside(NamedTuple):
    """A data file that was not trained: a row of it is bad, it was trained before, or it is gone (``event``)."""

    file: str
    digest: str
    event: str
    reason: str
    to: str | None
    time: str


class Timeline(NamedTuple):
    """``segments`` in the order of their steps; ``batches`` in the order of their first ones; ``aside``: not trained.

    ``redo`` are batches whose steps were given up when the run went back, in the order in which they come again.
    """

    segments: tuple[Segment, ...] = ()
    batches: tuple[Batch, ...] = ()
    aside: tuple[SetAside, ...] = ()
    redo: tuple[Batch, ...] = ()

    def owner(self, step: int) -> Segment | None:
        """Return the segment whose batch goes on after ``step``, None where nothing was begun there.

        A batch that is whole at ``step``, but not yet retired, is still returned where no other begins.
        """
        index = bisect_right(self.segments, step, key=lambda segment: segment.first_step)
        return self.segments[index - 1] if index else None

    def beyond(self, step: int) -> tuple[Batch, ...]:
        """Return the batches that come after the owner of ``step``: those given up before, and those begun later."""
        owner = self.owner(step)
        later = dict.fromkeys(segment.batch for segment in self.segments if segment.first_step > step)
        known = {item.digest: item for item in self.batches}
        over = {segment.batch for segment in self.segments if segment.over}
        ahead = [known[digest] for digest in later if digest not in over and (owner is None or digest != owner.batch)]
        return (*ahead, *(item for item in self.redo if item.digest not in later))

    def begins_between(self, before: int, after: int) -> bool:
        """Whether a leg begins after one of two logged steps and before the other."""
        index = bisect_left(self.segments, before, key=lambda segment: segment.first_step)
        return index < len(self.segments) and self.segments[index].first_step < after

    def unseen(self, step: int) -> bool:
        """Whether ``step`` trained examples that no step before had: it lies in a batch's first go through its file."""
        owner = self.owner(step - 1)
        if owner is None or owner.examples is None or owner.examples_per_step is None:
            return True
        epochs = _whole(owner.plan.get("epochs")) or 1
        return owner.example_at(step - 1) * epochs < owner.examples

    def trained(self, digest: str, step: int) -> tuple[Segment, int] | None:
        """Return the last segment of a batch up to ``step``, and how many of its examples were trained by then.

        None where nothing of it was. Another batch may have followed on it unfinished: it was given up, its file gone.
        """
        end = step
        for segment in reversed(self.segments):
            if segment.first_step > step:
                continue
            if segment.batch == digest:
                return segment, segment.example_at(end)
            end = segment.first_step
        return None

    def batch(self, digest: str) -> Batch | None:
        """Return the batch of this data file."""
        return next((item for item in (*self.batches, *self.redo) if item.digest == digest), None)


def timeline_of(rows: "Iterable[Row]") -> Timeline:
    """Replay the ledger's batch rows. Rows of another shape, of a newer version perhaps, are passed over."""
    replay = _Replay()
    for row in rows:
        if row.kind == "batch" and isinstance(row.content.get("batch"), str):
            replay.add(row.content, row.content["batch"], row.time)
    return replay.timeline()


class _Replay:
    """What holds after the rows so far."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.batches: dict[str, Batch] = {}
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self.held: dict[str, int] = {}
        """Segments of each batch."""
        self.redo: dict[str, None] = {}
        """Batches to come again; the last one comes first."""
        self.over: set[str] = set()
        self.dropped: Segment | None = None
        """The only leg of a batch that was rejected just now."""
        self.since: dict[str, str] = {}
        """When the leg began that goes on."""
        self.aside: list[SetAside] = []

    def timeline(self) -> Timeline:
        segments = [item._replace(over=True) if item.batch in self.over else item for item in self.segments]
        batches = [item._replace(losses=tuple(self.losses.get(item.digest, ()))) for item in self.batches.values()]
        found = {item.digest: item for item in batches}
        kept = [found[digest] for digest in dict.fromkeys(item.batch for item in segments)]
        redo = [found[digest] for digest in reversed(self.redo)]
        return Timeline(tuple(segments), tuple(kept), tuple(self.aside), tuple(redo))

    def add(self, content: Mapping[str, Any], digest: str, time: str) -> None:
        event = content.get("event")
        if event == LEG:
            segment = _segment(content)
            if segment is not None:
                self._begin(segment, time)
            return
        if event in (REJECTED, DUPLICATE, LOST):
            self.aside.append(_aside(content, time))
        batch = self.batches.get(digest)
        if batch is None or event == DUPLICATE:
            return
        if event in (REJECTED, LOST):
            self.over.add(digest)
            self.redo.pop(digest, None)
            last = self.segments[-1] if self.segments else None
            first = last is not None and last.batch == digest and self.held[digest] == 1 and not last.first_example
            if event == REJECTED and first:
                self.dropped = self.segments.pop()
                self.held[digest] = 0
            self.batches[digest] = batch._replace(state=str(event), ended=time, reason=_text(content.get("reason")))
        elif event == RETIRED:
            self.batches[digest] = batch._replace(state=RETIRED, to=_text(content.get("to")))
        elif event in (FINISHED, STOPPED, FAILED) and self.held.get(digest):
            self._end(batch, content, time)

    def _begin(self, segment: Segment, time: str) -> None:
        digest, first = segment.batch, segment.first_step
        if self.dropped is not None and self.dropped.batch != digest and self.dropped.first_step < first:
            self.segments.append(self.dropped)  # some of it was trained and saved before its bad row was met
            self.held[self.dropped.batch] = 1
        self.dropped = None
        gone: dict[str, None] = {}
        while self.segments and self._replaced(self.segments[-1], segment):
            cut = self.segments.pop().batch
            self.held[cut] -= 1
            gone[cut] = None
        for cut in gone:  # the last one first, as in ``redo``
            if not self.held[cut] and cut not in self.over:
                self.redo.pop(cut, None)
                self.redo[cut] = None
        self.redo.pop(digest, None)
        self.over.discard(digest)
        if self.segments and self.segments[-1].batch != digest:
            self._cut_short(self.segments[-1].batch, first)
        before = self.batches.get(digest)
        goes_on = before is not None and self.held.get(digest, 0) > 0
        self.since[digest] = time
        self.segments.append(segment)
        self.held[digest] = self.held.get(digest, 0) + 1
        losses = self.losses.setdefault(digest, [])
        while losses and (not goes_on or losses[-1][0] > first):
            losses.pop()
        self.batches[digest] = Batch(
            digest,
            segment.file,
            "training",
            before.first_step if before is not None and goes_on else first,
            segment.last_step,
            first,
            segment.examples,
            _whole(segment.plan.get("epochs")) or 1,
            (before.legs if before else 0) + 1,
            (),
            before.started if before else time,
            None,
            None,
            before.failures if before else 0,
            before.failed_at if before else None,
            None,
            before.seconds if before else None,
        )

    def _replaced(self, item: Segment, new: Segment) -> bool:
        """Whether a segment does not hold any more; a batch without a single step holds where the next one begins."""
        if item.first_step != new.first_step:
            return item.first_step > new.first_step
        return item.batch == new.batch or not item.whole_at(new.first_step)

    def _cut_short(self, digest: str, step: int) -> None:
        """Another batch begins at ``step``, where this one may not have been at its end: it was given up."""
        batch = self.batches[digest]
        last = batch.last_step if batch.last_step is None else min(batch.last_step, step)
        self.batches[digest] = batch._replace(step=min(batch.step, step), last_step=last)
        losses = self.losses.get(digest, [])
        while losses and losses[-1][0] > step:
            losses.pop()

    def _end(self, batch: Batch, content: Mapping[str, Any], time: str) -> None:
        event, digest = content["event"], batch.digest
        step = _whole(content.get("last_step" if event == FINISHED else "step"))
        step = batch.step if step is None else step
        new = _losses(content.get("losses"))
        if new:
            losses = self.losses.setdefault(digest, [])
            while losses and losses[-1][0] >= new[0][0]:
                losses.pop()
            losses.extend(new)
        seconds = _between(self.since.pop(digest, ""), time)
        if seconds is not None:
            batch = batch._replace(seconds=(batch.seconds or 0.0) + seconds)
        batch = batch._replace(state=event, step=step, ended=time, kind=None)
        if event == FINISHED:
            examples = _whole(content.get("examples"))
            examples = batch.examples if examples is None else examples
            self.batches[digest] = batch._replace(last_step=step, examples=examples, reason=None, failures=0)
            if self.segments[-1].batch == digest:
                self.segments[-1] = self.segments[-1]._replace(last_step=max(step, self.segments[-1].first_step))
        elif event == STOPPED:
            self.batches[digest] = batch._replace(reason=_signal(content.get("signal")))
        else:
            failures = batch.failures + 1 if batch.failed_at == step else 1
            self.batches[digest] = batch._replace(
                reason=_text(content.get("reason")),
                kind=_text(content.get("kind")),
                failures=failures,
                failed_at=step,
            )


def _segment(content: Mapping[str, Any]) -> Segment | None:
    first, last = _whole(content.get("first_step")), _whole(content.get("last_step"))
    if first is None or (last is not None and last < first):
        return None
    return Segment(
        content["batch"],
        _name(content.get("file")),
        first,
        last,
        _whole(content.get("first_example")) or 0,
        _whole(content.get("examples")),
        _whole(content.get("examples_per_step")) or None,
        content,
    )


def _aside(content: Mapping[str, Any], time: str) -> SetAside:
    return SetAside(
        _name(content.get("file")),
        content["batch"],
        str(content.get("event")),
        _text(content.get("reason")) or "",
        _text(content.get("to")),
        time,
    )


def _losses(value: Any) -> list[tuple[int, float]]:
    """Read [step, loss] pairs in the order of their steps; losses that are no finite numbers say nothing."""
    if not isinstance(value, list):
        return []
    pairs = [item for item in value if isinstance(item, list) and len(item) == 2]
    found = [
        (item[0], number) for item in pairs if _whole(item[0]) is not None and (number := _number(item[1])) is not None
    ]
    return sorted(found, key=lambda pair: pair[0])


def _between(start: str, end: str) -> float | None:
    """Seconds between two times of rows, which may be any text."""
    from datetime import datetime

    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if seconds >= 0 else None


def _signal(value: Any) -> str:
    return {2: "SIGINT", 15: "SIGTERM"}.get(value, "a signal") if isinstance(value, int) else "a signal"


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON knows integers of any length
        return None
    return number if isfinite(number) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _name(value: Any) -> str:
    """A file's name, of which no path can be made that leads elsewhere."""
    name = (_text(value) or "").replace("\0", "").rpartition("/")[2]
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return ""
    return "" if name in (".", "..") else name


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None
