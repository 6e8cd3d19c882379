"""Catch signals for a while."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM)
"""What asks a program to end."""


@contextmanager
def caught(handler: Callable[[int, FrameType | None], object], numbers: Sequence[int] = STOP) -> Iterator[None]:
    """Call ``handler`` for these signals inside the block, and what was called before for them afterwards.

    Only the main thread may catch signals: in any other nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
