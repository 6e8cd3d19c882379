"""Processes of this machine, which are started again when they are killed: a thread waits for each."""

import queue
import threading
from collections.abc import Iterator

from audit.fleet.engines import Part
from audit.fleet.supervised import Stopped, Worker, worker
from audit.fleet.tasks import Batch, Order

_End = BaseException | None


class _Pool:
    """Threads that take batches from one iterator and put rows into one queue, until either has an end."""

    def __init__(self, batches: Iterator[Batch], order: Order, workers: int) -> None:
        self._batches = batches
        self._order = order
        self._taking = threading.Lock()
        self._done: queue.Queue[Part | _End] = queue.Queue(2 * workers)
        self._stop = threading.Event()
        self._workers: list[Worker] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def parts(self) -> Iterator[Part]:
        for thread in self._threads:
            thread.start()
        left = len(self._threads)
        try:
            while left:
                found = self._done.get()
                if isinstance(found, tuple):
                    yield found
                elif found is None:
                    left -= 1
                else:
                    raise found
        finally:
            self._stop.set()
            for made in self._workers:  # who waits for an answer sees its end
                made.stop()
            for thread in self._threads:
                while thread.is_alive():
                    self._drain()
                    thread.join(0.05)

    def _drain(self) -> None:
        try:
            while True:
                self._done.get_nowait()
        except queue.Empty:
            pass

    def _work(self) -> None:
        try:
            with worker(self._order) as own:
                self._workers.append(own)
                while not self._stop.is_set() and (batch := self._next()) is not None:
                    self._done.put((batch.number, [own.audit(task) for task in batch.tasks]))
        except Stopped:
            pass
        except BaseException as error:
            self._done.put(error)
        finally:
            self._done.put(None)

    def _next(self) -> Batch | None:
        with self._taking:
            return next(self._batches, None)


def audit(batches: Iterator[Batch], order: Order, workers: int) -> Iterator[Part]:
    """Audit with so many processes. Raises AuditError if none can be started."""
    return _Pool(batches, order, workers).parts()
