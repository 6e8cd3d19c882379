"""Threads that wait for answers of a server.

Those of ``concurrent.futures`` are waited for when the program ends, so that Ctrl-C would do nothing until a request
times out; these are daemons. There is one pool for the process, however many runs it reads.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")

AT_ONCE = 16
"""Requests at a time."""


class Pool:
    """Calls functions in up to ``most`` threads, which are started as they are needed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._threads = self._idle = 0

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Have a function called; it must not wait for another one that was submitted."""
        future: Future[T] = Future()
        with self._lock:
            if self._process != os.getpid():  # a fork has no threads
                self._begin()
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                Thread(target=self._run, args=(self._work,), name=f"audit-remote-{self._threads}", daemon=True).start()
            self._work.put((future, call))
        return future

    def _run(self, work: "SimpleQueue[tuple[Future[Any], Callable[[], Any]]]") -> None:
        while True:
            future, call = work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del future, call  # or the last block would stay in memory
            with self._lock:
                if work.empty():
                    self._idle += 1


POOL = Pool(AT_ONCE)
