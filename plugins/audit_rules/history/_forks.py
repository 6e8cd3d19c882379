"""What forked histories have in common, and which checkpoint does not belong."""

from collections.abc import Sequence
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.plugin import Checkpoint
from audit_rules._entries import step_of

if TYPE_CHECKING:
    from audit.plugin import History

Lineage = Sequence[Checkpoint]


class Parting(NamedTuple):
    """Where two histories diverge: entries in common, entries that differ in the part both have, the step of the first.

    ``key`` is the one value that differs in that entry, with both values, or None if several differ.
    """

    common: int
    differing: int
    step: int | None
    key: tuple[str, Any, Any] | None

    @property
    def edited(self) -> bool:
        """Whether so much is the same that it is one run, whose log was changed in one or two entries."""
        return 0 < self.differing <= 2 and (self.common > 0 or self.key is not None)


def parting(one: "History", other: "History") -> Parting:
    """Compare two histories entry by entry (NaN is the same as NaN), over the length of the shorter one."""
    common, differing, step, key = 0, 0, None, None
    for mine, theirs in zip(one, other, strict=False):
        if mine == theirs or _text(mine) == _text(theirs):
            common += not differing
            continue
        differing += 1
        if step is None:
            step = step_of(mine) if step_of(mine) is not None else step_of(theirs)
            names = [name for name in mine.keys() | theirs.keys() if _text(mine.get(name)) != _text(theirs.get(name))]
            if len(names) == 1:
                key = (names[0], mine.get(names[0]), theirs.get(names[0]))
        elif differing > 3:
            break  # not an edit
    if step is None:  # one is the beginning of the other
        longer = one if len(one) > len(other) else other
        step = next((step_of(entry) for entry in islice(longer, common, None)), None)
    return Parting(common, differing, step, key)


def _text(value: Any) -> str:
    return repr(value) if not isinstance(value, dict) else repr(sorted(value.items(), key=lambda item: str(item[0])))


class Odd(NamedTuple):
    """A checkpoint that does not continue or precede ``reference``, the one it was compared with.

    ``kind``: "emptied" (no entries), "edited" (same run, an entry differs), "behind" (an older state of the same run
    under a higher number), "foreign" (another run's).
    """

    checkpoint: Checkpoint
    reference: Checkpoint
    kind: str
    parting: Parting


def odd_one(group: Lineage, main: Lineage, others: int) -> Odd | None:
    """Return what is wrong with one of the ``others`` beside the longest history, None if it is a run of its own.

    Of two single checkpoints the later one is reported; among more of them none can be singled out.
    """
    if len(main) == 1 and others > 1:
        return None
    if len(main) == 1:
        first, last = sorted((*group, *main), key=lambda item: item.step)
        culprit, reference = (first, last) if not len(first.history) else (last, first)
    elif len(group) == 1:
        culprit = group[0]
        reference = next((item for item in main if item.step > culprit.step), main[-1])
    else:
        return None
    part = parting(culprit.history, reference.history)
    if not len(culprit.history):
        kind = "emptied"
    elif not part.differing and culprit.step > reference.step:
        kind = "behind"
    elif part.edited or _mostly_shared(culprit.history, reference.history, part.common):
        kind = "edited"
    elif len(main) > 1 and culprit.step < main[-1].step:
        kind = "foreign"
    else:
        return None  # the others may as well be those that do not belong here
    return Odd(culprit, reference, kind, part)


def _mostly_shared(one: "History", other: "History", common: int) -> bool:
    """Whether four of five entries of the shorter one are in both, in any place: it is one log, edited.

    Two runs of one seed share their first two or three losses at most, and two ways from one checkpoint nothing after
    the ``common`` entries in which they begin. Only the last 10 000 entries are compared.
    """
    mine, theirs = ([*islice(reversed(list(history)), 10_000)] for history in (one, other))
    texts = {_text(entry) for entry in mine}
    shared = sum(_text(entry) in texts for entry in theirs)
    shorter = min(len(mine), len(theirs))
    later = {_text(entry) for entry in islice(one, common, None)}
    again = any(_text(entry) in later for entry in islice(other, common, None))
    return shorter >= 3 and 5 * shared >= 4 * shorter and again


def lost_entries(lineage: Lineage) -> list[tuple[Checkpoint, Checkpoint, list[int]]]:
    """Checkpoints whose log lacks steps before their own that the next checkpoint's log has."""
    found = []
    for before, after in pairwise(lineage):
        new = [step for entry in after.history.fresh if (step := step_of(entry)) is not None]
        # What was cut off comes first; if the log goes back after that, the later log is out of order.
        steps = list(takewhile(lambda step: step < before.step, new))  # noqa: B023 - used up at once
        if steps:
            found.append((before, after, steps))
    return found


def ages(groups: Sequence[Lineage], state_file: str) -> list[int] | None:
    """Order of the groups by the time of their files, oldest first; None if the times overlap or are unknown."""
    spans = []
    if not all(group[0].run.clock.by_trainer for group in groups):
        return None
    for group in groups:
        times = [item.entries[state_file].mtime_ns for item in group if state_file in item.entries]
        if not times:
            return None
        spans.append((min(times), max(times)))
    order = sorted(range(len(groups)), key=lambda index: spans[index])
    # Files unpacked or checked out together are seconds apart at most, whatever their runs were.
    apart = all(spans[new][0] - spans[old][1] > 60e9 for old, new in pairwise(order))
    return order if apart else None
