"""Runs of zero bytes, as a hole in a file, a lost page or a full disk leaves them.

A run of n bytes has a whole aligned word within any n - 15 bytes of it, so checking one word in every n / 2 bytes
misses none; only if such a word is zero is the neighbourhood searched.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audit.scan.floats import Bytes

SHORTEST = 16
"""Shorter runs are not reported: they need not contain a whole aligned word."""


class Runs(NamedTuple):
    """Zero bytes of a part: at its start and end, and the longest run in it with its offset (the first of equals)."""

    lead: int
    trail: int
    longest: int
    at: int


NONE = Runs(0, 0, 0, 0)


def stride(shortest: int) -> int:
    """Return how many words apart samples may be so that no run of ``shortest`` bytes is missed."""
    return max(1, min(shortest // 2, shortest - 15) // 8)


def candidates(words: npt.NDArray[np.uint64], every: int) -> list[int]:
    """Return the offsets in bytes of sampled words that are zero, one word in ``every``; the words are aligned."""
    sample = words[::every]
    if not len(sample) or np.minimum.reduce(sample):
        return []
    offsets: list[int] = (np.flatnonzero(sample == 0) * (8 * every)).tolist()
    return offsets


def edges(part: memoryview, reach: int) -> Runs:
    """Return the zero bytes at start and end of ``part``; they are counted up to ``reach`` bytes."""
    if part[0] and part[-1]:  # nearly always
        return NONE
    head, tail = bytes(part[:reach]), bytes(part[-reach:])
    return Runs(len(head) - len(head.lstrip(b"\0")), len(tail) - len(tail.rstrip(b"\0")), 0, 0)


def search(part: Bytes, shortest: int) -> Runs:
    """Return the exact runs of ``part``, shorter ones than ``shortest`` left out of ``longest``."""
    size = len(part)
    if not part.max(initial=0):
        return Runs(size, size, size, 0)
    lead, trail = _lead(part), _lead(part[::-1])
    # Words with a border of ones on both sides, so that each run of zero words has an end within the array.
    padded = np.full(8 + (size + 7) // 8 * 8 + 8, 0xFF, np.uint8)
    padded[8 : 8 + size] = part
    zero = padded.view(np.uint64) == 0
    turns = np.flatnonzero(zero[1:] != zero[:-1]) + 1
    first, end = turns[::2], turns[1::2]
    long = (end - first) * 8 > shortest - 15
    first, end = first[long], end[long]
    if not len(first):
        return Runs(lead, trail, 0, 0)
    octets = padded.reshape(-1, 8) != 0
    before = octets[first - 1, ::-1].argmax(axis=1)
    after = octets[end].argmax(axis=1)
    lengths = (end - first) * 8 + before + after
    best = int(lengths.argmax())
    if lengths[best] < shortest:
        return Runs(lead, trail, 0, 0)
    return Runs(lead, trail, int(lengths[best]), int(first[best] * 8 - 8 - before[best]))


def _lead(part: Bytes) -> int:
    """The zero bytes at the start of a part that is not all zero, found in growing steps."""
    reach = 4096
    while not part[:reach].any():
        reach *= 8
    return int((part[:reach] != 0).argmax())
