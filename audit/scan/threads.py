"""The threads of a scan: each takes the largest file that no other has; when none is left, it helps with one.

Two threads on one file read and check different blocks at once and take turns in hashing, which is less than half of
the work, so one huge file keeps two threads busy.
"""

import os
from collections.abc import Callable, Hashable, Sequence

# numpy's BLAS starts a pool of threads on import, which is not needed here; not starting it saves 15 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from threading import Lock, Thread

from audit.scan.blocks import Buffer, File
from audit.scan.values import FileScan, ScanJob

_SMALL = 8 << 20  # bytes: less than this is scanned faster than a thread starts


class Pool:
    """One call of :func:`audit.scan.scan_files`."""

    def __init__(self, jobs: Sequence[ScanJob], block: int, progress: Callable[[int], None] | None) -> None:
        if block <= 0 or block % 8:
            raise ValueError(f"block must be a positive multiple of 8, not {block}")
        self._files = [File(job, block) for job in jobs]
        self._fresh = sorted(self._files, key=lambda file: file.job.size)  # the largest last, where pop() takes it
        self._block = block
        self._progress = progress
        self._lock = Lock()
        self._raised: list[BaseException] = []

    def run(self, threads: int) -> dict[Hashable, FileScan]:
        """Scan with up to ``threads`` threads, this one among them."""
        total = sum(file.job.size for file in self._files)
        wanted = 1 if total < _SMALL else min(threads, total // self._block + 1)
        helpers = [Thread(target=self._work, name=f"scan-{i}") for i in range(1, wanted)]
        for helper in helpers:
            helper.start()
        self._work()
        for helper in helpers:
            helper.join()
        if self._raised:
            raise self._raised[0]
        return {file.job.key: file.result() for file in self._files}

    def _work(self) -> None:
        """Scan blocks until none is left; an exception is kept and ends all threads."""
        try:
            buffer = Buffer(self._block)
            file: File | None = None
            while (claim := self._claim(file)) is not None:
                file, index = claim
                done = file.process(index, buffer)
                if self._progress is not None:
                    with self._lock:
                        self._progress(done)
        except BaseException as error:
            self._raised.append(error)

    def _claim(self, current: File | None) -> tuple[File, int] | None:
        """Take the next block of the current file, else of a new one, else of the one with the most blocks left."""
        with self._lock:
            if self._raised:
                return None
            if current is None or not current.left:
                if self._fresh:
                    current = self._fresh.pop()
                else:
                    current = max(self._files, key=lambda file: file.left, default=None)
            if current is None or not current.left:
                return None
            current.claimed += 1
            return current, current.claimed - 1
