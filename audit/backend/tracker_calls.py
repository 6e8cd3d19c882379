"""Calls of a tracker's library, which may wait for a silent server for minutes: how long, and for which tracker.

No thread can be ended from outside. One that is late is left behind, and ends with the process.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_ASKED: dict[int, str] = {}
"""The tracker that a thread is asking, by the number of the thread."""


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Note that this thread asks a tracker inside, so that one that does not answer can be named."""
    me = threading.get_ident()
    before = _ASKED.get(me)
    _ASKED[me] = name
    try:
        yield
    finally:
        if before is None:
            del _ASKED[me]
        else:
            _ASKED[me] = before


def asked_by(thread: threading.Thread) -> str:
    """Return the tracker that a thread is asking, "" if it asks none."""
    return _ASKED.get(thread.ident or 0, "")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what ``call`` returns, made in a thread of its own; raise what it raises, TimeoutError if it is late."""
    done: list[T] = []
    raised: list[BaseException] = []

    def answer() -> None:
        try:
            done.append(call())
        except BaseException as error:  # such as SystemExit; whoever waits needs an answer
            raised.append(error)

    thread = in_thread(answer)
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not done:
        raise TimeoutError(late_by(seconds))
    return done[0]


def in_thread(call: Callable[..., None], *arguments: Any) -> threading.Thread:
    """Start a thread that has the context variables of this one: Trackio keeps the run that is open in one."""
    logs = partial(contextvars.copy_context().run, call, *arguments)
    thread = threading.Thread(target=logs, name="trackers", daemon=True)
    thread.start()
    return thread


def late_by(seconds: float) -> str:
    """Say that a tracker did not answer in time."""
    return f"it took longer than {seconds:g} s"
