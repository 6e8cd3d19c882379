"""The batches of a run, as its ledger tells them: which example was trained in which step.

Rows of kind "batch" have an ``event``:

* ``leg``: training begins. ``batch`` (digest of the data file), ``file`` (its name), ``first_step``, ``last_step`` (planned,
  None where the backend decides), ``first_example``, ``examples`` (rows x epochs; None where they are not counted),
  ``examples_per_step``, ``epochs``, ``resumed_from``, and what else makes the leg (seed, horizon, decay_steps).
* ``finished``: the batch is trained and its last checkpoint proven. ``batch``, ``file``, ``first_step`` (of the batch),
  ``last_step``, ``examples``, ``checkpoint``, ``losses`` ([step, loss], thinned), ``seconds``.
* ``stopped`` (``step``, ``signal``), ``failed`` (``step``, ``kind``, ``reason``): the leg ended early; the data file is still there.
* ``retired``, ``rejected``, ``duplicate``: where the data file went (``to``), and why (``reason``).
* ``lost``: the batch was given up by a step back, and its data file is gone; the user said to go on without it.

A run may go back: the guard hands out an older checkpoint. The leg that follows then says what holds from its first step
on, so the rows are replayed in their order, each leg cutting off what reached beyond its beginning.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from audit.ledger import Row

LEG, FINISHED, STOPPED, FAILED = "leg", "finished", "stopped", "failed"
RETIRED, REJECTED, DUPLICATE, LOST = "retired", "rejected", "duplicate", "lost"


class Segment(NamedTuple):
    """Steps of one batch in one go: after ``first_step`` come the examples from ``first_example`` on.

    ``last_step`` is where it was planned to end, None where the backend decides.
    """

    batch: str
    file: str
    first_step: int
    last_step: int | None
    first_example: int
    examples: int | None
    examples_per_step: int | None
    plan: Mapping[str, Any]

    def example_at(self, step: int) -> int:
        """How many examples of the batch were trained once ``step`` was done."""
        if self.examples_per_step is None:  # not counted: the batch is done when its planned end is
            return self.first_example
        done = self.first_example + (step - self.first_step) * self.examples_per_step
        return done if self.examples is None else min(done, self.examples)

    def whole_at(self, step: int) -> bool:
        """Whether the whole batch was trained once ``step`` was done; never before it is known how long it is."""
        return self.last_step is not None and step >= self.last_step


class Batch(NamedTuple):
    """One data file and what became of it. Steps are those of the history that holds; ``time`` is UTC in ISO 8601.

    ``state`` is one of training, stopped, failed, finished, retired; ``step`` is the newest step known of it.
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


class SetAside(NamedTuple):
    """A data file that was not trained: a row of it is bad, or it was trained before."""

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
        begun = [segment for segment in self.segments if segment.first_step <= step]
        return begun[-1] if begun else None

    def beyond(self, step: int) -> tuple[Batch, ...]:
        """Return the batches that come after the owner of ``step``: those given up before, and those begun later."""
        owner = self.owner(step)
        later = dict.fromkeys(segment.batch for segment in self.segments if segment.first_step > step)
        known = {item.digest: item for item in self.batches}
        ahead = [known[digest] for digest in later if owner is None or digest != owner.batch]
        return (*ahead, *(item for item in self.redo if item.digest not in later))

    def batch(self, digest: str) -> Batch | None:
        """Return the batch of this data file."""
        return next((item for item in (*self.batches, *self.redo) if item.digest == digest), None)


def timeline_of(rows: "Iterable[Row]") -> Timeline:
    """Replay the ledger's batch rows. Rows of another shape, of a newer version perhaps, are passed over."""
    segments: list[Segment] = []
    batches: dict[str, Batch] = {}
    aside: list[SetAside] = []
    redo: list[str] = []
    for row in rows:
        if row.kind != "batch" or not isinstance(row.content.get("batch"), str):
            continue
        content, digest = row.content, row.content["batch"]
        event = content.get("event")
        if event == LEG:
            segment = _segment(content)
            if segment is not None:
                cut = dict.fromkeys(item.batch for item in segments if item.first_step >= segment.first_step)
                segments = [item for item in segments if item.first_step < segment.first_step]
                segments.append(segment)
                held = {item.batch for item in segments}
                redo = [item for item in dict.fromkeys([*cut, *redo]) if item not in held]
                batches[digest] = _begun(batches.get(digest), segment, segments, row.time)
        elif event == LOST:
            redo = [item for item in redo if item != digest]
        elif event in (REJECTED, DUPLICATE):
            aside.append(_aside(content, row.time))
        elif digest in batches:
            if event == FINISHED:
                segments = [_ended(item, content) if item.batch == digest else item for item in segments]
            batches[digest] = _went_on(batches[digest], content, row.time)
    held = {item.batch for item in segments}
    kept = sorted((item for digest, item in batches.items() if digest in held), key=lambda item: item.first_step)
    return Timeline(tuple(segments), tuple(kept), tuple(aside), tuple(batches[digest] for digest in redo))


def _segment(content: Mapping[str, Any]) -> Segment | None:
    first, last = _whole(content.get("first_step")), _whole(content.get("last_step"))
    if first is None or (last is not None and last < first):
        return None
    return Segment(
        content["batch"],
        str(content.get("file")),
        first,
        last,
        _whole(content.get("first_example")) or 0,
        _whole(content.get("examples")),
        _whole(content.get("examples_per_step")) or None,
        content,
    )


def _ended(segment: Segment, content: Mapping[str, Any]) -> Segment:
    """Where the length was not known before, it is now."""
    return segment if segment.last_step is not None else segment._replace(last_step=_whole(content.get("last_step")))


def _begun(before: Batch | None, segment: Segment, segments: list[Segment], time: str) -> Batch:
    first = min(item.first_step for item in segments if item.batch == segment.batch)
    return Batch(
        segment.batch,
        segment.file,
        "training",
        first,
        segment.last_step,
        segment.first_step,
        segment.examples,
        _whole(segment.plan.get("epochs")) or 1,
        (before.legs if before else 0) + 1,
        tuple(item for item in before.losses if item[0] <= segment.first_step) if before else (),
        before.started if before else time,
        None,
        None,
        before.failures if before else 0,
    )


def _went_on(batch: Batch, content: Mapping[str, Any], time: str) -> Batch:
    event = content.get("event")
    step = _whole(content.get("last_step" if event == FINISHED else "step"))
    step = batch.step if step is None else step
    if event == FINISHED:
        losses = _losses(content.get("losses"))
        return batch._replace(state=FINISHED, step=step, last_step=step, losses=losses, ended=time, reason=None)
    if event == STOPPED:
        return batch._replace(state=STOPPED, step=step, ended=time, reason=f"signal {content.get('signal')}")
    if event == FAILED:
        return batch._replace(
            state=FAILED, step=step, ended=time, reason=str(content.get("reason")), failures=batch.failures + 1
        )
    if event == RETIRED:
        return batch._replace(state=RETIRED)
    return batch


def _aside(content: Mapping[str, Any], time: str) -> SetAside:
    to = content.get("to")
    return SetAside(
        str(content.get("file")),
        content["batch"],
        str(content.get("event")),
        str(content.get("reason")),
        to if isinstance(to, str) else None,
        time,
    )


def _losses(value: Any) -> tuple[tuple[int, float], ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        (item[0], float(item[1]))
        for item in value
        if isinstance(item, list) and len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], int | float)
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None
