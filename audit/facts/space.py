"""Disk space: what the checkpoints to come need at the worst moment, and what is free on their volume."""

import os
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from audit.backend.training import Size
from audit.errors import AuditError


class Free(NamedTuple):
    """What is free on a volume for the user who asks; ``inodes`` None if the file system makes them as needed."""

    bytes: int
    inodes: int | None


class Space(NamedTuple):
    """``need`` beyond what is there now, at the worst moment; ``one``: a checkpoint's size and where it comes from."""

    need: Size
    free: Free
    one: Size
    source: str
    saves: int
    limit: int | None


def free_at(path: str) -> Free:
    """Return what is free on the volume of ``path``, which need not exist yet. Raises AuditError."""
    place = os.path.abspath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    try:
        about = os.statvfs(place)
    except OSError as error:
        raise AuditError(f"{place}: how much is free there cannot be asked: {error.strerror or error}") from error
    # btrfs and others report 0 of 0: they have as many as they need.
    return Free(about.f_bavail * about.f_frsize, about.f_favail if about.f_files else None)


def peak(legs: Sequence[int], there: Sequence[Size], one: Size, limit: int | None, best: bool = False) -> Size:
    """Return what must be free at the worst moment of these legs, beyond what is taken now.

    ``legs``: how many checkpoints each leg saves. ``there``: those of now, the oldest first. Trainer rotates only
    *after* a save, so for a moment there is one more than ``limit``; the best one is kept beside the newest (``best``).
    The audit holds the checkpoint that a leg began with by hard links until the leg is proven, so rotation does not
    free its bytes.
    """
    kept = deque(enumerate(there))
    number = len(kept)
    most = max(limit, 2 if best else 1) if limit is not None else None
    used, worst = Size(0, 0), Size(0, 0)
    pinned = kept[-1] if kept else None
    for saves in legs:
        if most is None:  # nothing is deleted: all add up, and the last is the one that the next leg begins with
            used = Size(used.bytes + saves * one.bytes, used.inodes + saves * one.inodes)
            worst = used
            continue
        # Once every checkpoint here is one of this leg's, further saves change nothing.
        for _ in range(min(saves, len(kept) + most + 2)):
            number += 1
            kept.append((number, one))
            used = _plus(used, one, 1)
            worst = Size(max(worst.bytes, used.bytes), max(worst.inodes, used.inodes))
            while len(kept) > most:
                old = kept.popleft()
                if old != pinned:
                    used = _plus(used, old[1], -1)
        if pinned is not None and pinned not in kept:
            used = _plus(used, pinned[1], -1)
        pinned = kept[-1] if kept else None
    return worst


def _plus(used: Size, one: Size, sign: int) -> Size:
    return Size(used.bytes + sign * one.bytes, used.inodes + sign * one.inodes)
