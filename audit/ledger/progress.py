"""Where the training that holds a run's lock is: ``<run>/.audit/progress.json``, for those who watch it.

Between two saves no other file tells the step. The file is a convenience: training continues if it cannot be written,
and who reads it trusts it only while the lock is held, and only if it is younger than the lock.
"""

import json
import os
import time
from contextlib import suppress
from typing import Any, NamedTuple

from audit.audit_dir import PROGRESS, link_in_the_way, read_small, replaced
from audit.text import unix_time, utc_time

EVERY_SECONDS = 1.0
"""The least time between two writes."""
_LONGEST = 4096


class Progress(NamedTuple):
    """``step`` is done, of ``last_step`` in this batch if that is known; the values are the last that were logged."""

    step: int
    last_step: int | None
    loss: float | None
    learning_rate: float | None


class ProgressFile:
    """Written while one leg is trained."""

    def __init__(self, run: str, last_step: int | None) -> None:
        self._run = run
        self._now = Progress(0, last_step, None, None)
        self._next = 0.0

    def advance(self, step: int, loss: float | None, learning_rate: float | None) -> None:
        """Note that a step is done, with what was logged of it; written at most once a second, and never raises."""
        self._now = self._now._replace(
            step=step,
            loss=self._now.loss if loss is None else loss,
            learning_rate=self._now.learning_rate if learning_rate is None else learning_rate,
        )
        if time.monotonic() < self._next or link_in_the_way(self._run, PROGRESS) is not None:
            return
        self._next = time.monotonic() + EVERY_SECONDS
        path = os.path.join(self._run, PROGRESS)
        with suppress(OSError), replaced(path) as scratch, open(scratch, "x", encoding="ascii") as file:
            json.dump({"time": utc_time(), **self._now._asdict()}, file)


def read_progress(run: str, since: str) -> Progress | None:
    """Return what the training notes that has held the lock since ``since`` (UTC); None if it has noted nothing."""
    content = read_small(run, PROGRESS, _LONGEST)
    if content is None:
        return None
    try:
        found: Any = json.loads(content)
        noted = Progress(*(found[name] for name in Progress._fields))
        written, begun = unix_time(found["time"]), unix_time(since)
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    if written is None or begun is None or written < begun:
        return None
    whole = _is_step(noted.step) and (noted.last_step is None or _is_step(noted.last_step))
    return noted if whole and all(map(_is_number, (noted.loss, noted.learning_rate))) else None


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
