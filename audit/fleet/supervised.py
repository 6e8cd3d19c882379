"""A worker seen from outside: it is killed when a run takes too long, and started again when it is gone.

Every engine audits through one, so that a run that ends its process costs that process and its own row, wherever it is.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from audit.errors import AuditError
from audit.fleet.one_run import failed
from audit.fleet.rows import Audited
from audit.fleet.tasks import Batch, Order, Task

TRIES = 3
"""How often a run whose worker ends is begun, before its row says so."""

START_SECONDS = 300.0
"""Time for a worker to load its modules, on a busy machine and a slow file system."""

_PROGRAM = "from audit.fleet.worker import main; main()"
_SINGLE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""The scan needs none of the threads that numpy's libraries would start, and their memory counts."""


class _Ended(Exception):
    """The worker ended before it answered."""


class _TooLong(Exception):
    """The worker did not answer in time."""


class Stopped(Exception):
    """Another thread stopped the worker: there is no row, and nobody waits for one."""


class Worker:
    """One child process; started at the first task. Not for several threads at once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._rest = b""
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The number of the process, None while there is none."""
        return self._child.pid if self._child is not None else None

    def audit(self, task: Task) -> Audited:
        """Return the row of a run. Raises AuditError if no worker can be started, and Stopped."""
        limit = self._order.limit(task)
        reason = ""
        for _ in range(TRIES):
            child = self._started()
            try:
                self._send(list(task))
                answer = self._answer(limit)
            except _TooLong:
                self.kill()
                return failed(task, self._order, f"takes longer than {limit:.0f} s; give it more time with --timeout")
            except _Ended:
                code = child.wait()
                self.kill()
                reason = f"signal {-code}" if code < 0 else f"exit code {code}"
                continue
            if answer is None:
                self.kill()
                gigabytes = self._order.memory / (1 << 30)
                return failed(task, self._order, f"out of memory: it needs more than {gigabytes:.3g} GiB")
            return Audited.read(answer)
        return failed(task, self._order, f"its audit ended {TRIES} times without a result ({reason})")

    def stop(self) -> None:
        """End the process from another thread; its own one hears of it and starts no other."""
        self._stopped = True
        child = self._child
        if child is not None:
            child.kill()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._child is not None and not self._stopped:
            return self._child
        for _ in range(TRIES):
            if self._stopped:
                raise Stopped
            self._start()
            try:
                self._send(self._order.document())
                if self._answer(START_SECONDS) == "ready":
                    assert self._child is not None
                    return self._child
            except (_Ended, _TooLong):
                pass
            said = self._said()
            self.kill()
        raise AuditError(f"a process that audits cannot be started{f': {said}' if said else ''}")

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self._rest = b""
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **_SINGLE},
            )
        except OSError as error:
            self._errors.close()
            raise AuditError(f"a process that audits cannot be started: {error.strerror or error}") from error

    def _said(self) -> str:
        """The last line that the worker wrote to its errors."""
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _send(self, document: object) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(document).encode("ascii") + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise _Ended from error

    def _answer(self, seconds: float) -> Any:
        assert self._child is not None
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        deadline = time.monotonic() + seconds
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if left <= 0 or not poll.poll(left * 1000):
                raise _TooLong
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise _Ended
            parts.append(chunk)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        try:
            return json.loads(line)
        except ValueError as error:  # a half line of a process that was killed is none, so this is no answer of ours
            raise _Ended from error

    def kill(self) -> None:
        """End the process now, if there is one; the next task starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._errors.close()


@contextmanager
def worker(order: Order) -> Iterator[Worker]:
    """Give a worker, and end its process afterwards."""
    made = Worker(order)
    try:
        yield made
    finally:
        made.kill()


_own = threading.local()


def audit_batch(order: Mapping[str, Any], batch: list[Any]) -> list[Any]:
    """Audit a batch in a process of somebody else's engine; order, batch and rows are documents.

    The worker stays for the next batch of this thread, and ends with its process. Raises AuditError if there is none.
    """
    if getattr(_own, "order", None) != order:
        if (old := getattr(_own, "worker", None)) is not None:
            old.kill()
        _own.order, _own.worker = order, Worker(Order.read(order))
    return [_own.worker.audit(task).document() for task in Batch.read(batch).tasks]
