"""Which checkpoints belong to one uninterrupted history, told by the contents of their logs alone."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from audit.formats.history import History
from audit.formats.known_histories import KnownHistories

_COMPARED = 5_000_000
"""Log entries that are compared for one run in search of common ancestors: seconds at most, whatever the files hold."""


class Member(Protocol):
    """What is grouped: a checkpoint, by its step and its log."""

    @property
    def step(self) -> int:
        """N of ``checkpoint-N``."""
        ...

    @property
    def history(self) -> History:
        """Its ``log_history``."""
        ...


M = TypeVar("M", bound=Member)


class Ancestry:
    """Finds the common past of histories that a reader could not match as a whole.

    A reader knows a history only by the newest one of each lineage. Where a checkpoint in between was edited, or a run
    went back to an older checkpoint, the true ancestor is further up the chain of one of them.
    """

    def __init__(self) -> None:
        self._budget = _COMPARED

    def attach(self, history: History, heads: KnownHistories) -> History:
        """Return ``history`` on the longest earlier history that it begins with: itself if there is none."""
        if history.base_count or not len(history):
            return history  # it stands on something already, or there is nothing to compare
        best: History | None = None
        for head in heads.sharing(history.own):
            if self._budget <= 0:
                break
            count = head.common(history.own)
            self._budget -= count + 1
            if count == len(history):
                return history  # an older state of that run under a higher number: it continues nothing
            link: History | None = head
            while link is not None and len(link) > count:
                link = link.base
            if link is not None and len(link) and (best is None or len(link) > len(best)):
                best = link
        if best is None:
            return history
        return History(history.own[len(best) :], best, history.raw, history.problems)


def group(checkpoints: Iterable[M]) -> tuple[tuple[M, ...], ...]:
    """Group checkpoints, given in the order of steps, by history.

    A checkpoint belongs to the group whose last history its own one begins with. Where it continues an earlier member
    instead, what followed that member was left behind and becomes a group of its own. Groups come in the order of
    their last step.
    """
    groups: list[list[M]] = []
    place: dict[int, tuple[list[M], int]] = {}
    for checkpoint in checkpoints:
        history = checkpoint.history
        base = history.base
        while base is not None and id(base) not in place:
            base = base.base  # of a copy that is in a directory of another step and is in no group
        found = place.get(id(base)) if base is not None else None
        if found is None:
            home: list[M] = []
            groups.append(home)
        else:
            home, position = found
            left_behind = home[position + 1 :]
            if left_behind:
                del home[position + 1 :]
                groups.append(left_behind)
                place.update((id(item.history), (left_behind, index)) for index, item in enumerate(left_behind))
        home.append(checkpoint)
        place[id(history)] = (home, len(home) - 1)
    return tuple(tuple(members) for members in sorted(groups, key=lambda members: members[-1].step))
