"""Counts what was compared of a part of the state, value by value, whole or as the piece that a process holds."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from audit.plugin import Compared, StoredTensor

MISSING = object()
LONG = 64
"""Items of a list that are compared as one value."""
BLOCK = 1 << 20
"""Elements that are read and compared at a time."""
TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip

Saved = Callable[[int, int], torch.Tensor]
"""Returns so many elements of a flat tensor in a file, from a place on."""
Run = tuple[int, int, int]
"""Where elements that follow each other begin in the tensor of the file, in the process's own, and how many."""


class Tally:
    """Counts what was compared. A value is a tensor, or anything else that is not a container."""

    def __init__(self, part: str, skip: frozenset[str] = frozenset()) -> None:
        self._part, self._skip = part, skip
        self.values = self.different = 0
        self._first: str | None = None
        self._largest: float | None = None
        self._not_read = 0
        self._why_not_read: str | None = None
        self.missed: list[str] = []

    def value(self, name: str, saved: Any, live: Any) -> None:
        """Compare a value of a file, or everything in it, with what was loaded."""
        if isinstance(saved, torch.Tensor):
            self._tensor(name, saved, live)
        elif isinstance(saved, Mapping):
            for key, part in saved.items():
                if key not in self._skip:
                    there = live.get(key, MISSING) if isinstance(live, Mapping) else MISSING
                    self.value(f"{name}.{key}" if name else str(key), part, there)
        elif isinstance(saved, list | tuple) and isinstance(live, list | tuple) and len(saved) == len(live):
            if len(saved) > LONG:  # the state of a random generator
                self._note(name, list(saved) == list(live))
                return
            for number, (part, there) in enumerate(zip(saved, live, strict=True)):
                self.value(f"{name}.{number}", part, there)
        else:
            self._note(name, _same(saved, live))

    def _tensor(self, name: str, saved: torch.Tensor, live: Any) -> None:
        if not isinstance(live, torch.Tensor):
            live = torch.as_tensor(live) if isinstance(live, int | float) else None
        if live is None or live.shape != saved.shape:
            self._note(name, False)
            return
        mine = live.detach().to("cpu")
        other = saved.to("cpu", mine.dtype)
        gap = _gap(mine, other)
        if gap is not None and mine.is_floating_point():
            self._largest = max(self._largest or 0.0, gap / (float(other.abs().max()) or 1.0))
        self._note(name, gap is None)

    def pieces(self, name: str, saved: Saved, live: torch.Tensor, runs: Iterable[Run]) -> None:
        """Compare what a process holds of a tensor with the file, block by block, as one value; nothing is no value.

        ``live`` is flat. ``saved`` returns ``count`` elements of the file from ``start``; what it raises as OSError is
        counted as not read.
        """
        seen, same, gap, scale = False, True, 0.0, 0.0
        try:
            for start, at, count in _blocks(runs):
                other = saved(start, count).to(live.dtype)
                mine = live[at : at + count].detach().to("cpu")
                seen = True
                if mine.shape != other.shape:
                    same, gap = False, float("inf")
                    break
                if live.is_floating_point():
                    scale = max(scale, float(other.abs().max()))
                found = _gap(mine, other)
                if found is not None:
                    same, gap = False, max(gap, found)
        except OSError as error:
            self._unread(name, error)
            return
        if not seen:
            return
        if not same and live.is_floating_point():
            self._largest = max(self._largest or 0.0, gap / (scale or 1.0))
        self._note(name, same)

    def _unread(self, name: str, error: OSError) -> None:
        self._not_read += 1
        self._why_not_read = self._why_not_read or f"{name}: {error.strerror or error}"

    def _note(self, name: str, same: bool) -> None:
        self.values += 1
        if not same:
            self.different += 1
            self._first = self._first or name

    def result(self) -> Compared:
        """Return what was counted."""
        unread = (
            f"{self._not_read} tensor{'s' * (self._not_read > 1)} could not be read, the first is {self._why_not_read}"
        )
        missed = "; ".join([*self.missed, *[unread][: self._not_read]]) or (
            None if self.values else "there is nothing to compare"
        )
        return Compared(self._part, self.values, self.different, self._first, self._largest, missed)


def reading(tensor: StoredTensor) -> Saved:
    """Return what reads elements of a tensor in the files."""

    def read(start: int, count: int) -> torch.Tensor:
        kind = TYPES.get(tensor.dtype)
        if kind is None:
            raise OSError(0, f"its elements are of type {tensor.dtype}; not compared")
        return torch.frombuffer(bytearray(tensor.read(start, count)), dtype=kind)

    return read


def _gap(mine: torch.Tensor, other: torch.Tensor) -> float | None:
    """How far tensors of one shape and type differ at most, None if they do not; NaN is the same as NaN."""
    if torch.equal(mine, other):
        return None
    if not mine.is_floating_point():
        return 0.0
    unequal = (mine != other) & ~(torch.isnan(mine) & torch.isnan(other))
    return float((mine.double() - other.double()).abs().max()) if bool(unequal.any()) else None


def _blocks(runs: Iterable[Run]) -> Iterator[Run]:
    for start, at, count in runs:
        for done in range(0, count, BLOCK):
            yield start + done, at + done, min(BLOCK, count - done)


def loaded_file(path: str) -> Any:
    """Return what a torch file holds, without executing a pickle, and mapped if it can be."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # not a zip archive: an old format, which cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True)


def _same(saved: Any, live: Any) -> bool:
    if isinstance(live, torch.Tensor) and live.numel() == 1 and isinstance(saved, int | float):
        live = live.item()
    if isinstance(saved, float) and isinstance(live, float) and math.isnan(saved):
        return math.isnan(live)
    return bool(saved == live)
