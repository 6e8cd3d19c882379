"""A process that trains legs, one after the other, and the pipes to it.

The audit outlives a crash in a driver, an out-of-memory kill or a leak, and records the reason. The child ends when its
parent does, and holds the run's lock until then.
"""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeVar

from audit.backend.rehearsal import Rehearsal, RehearsalRequest
from audit.backend.signals import caught
from audit.backend.training import LegFailed, LegRequest, LegResult, Step, Tell, TrainingBackend
from audit.errors import AuditError
from audit.training.messages import Logged, Message, read_message
from audit.training.tracking import Found

_TAIL = 4096
_SIGNALS = {int(item): item.name for item in signal.Signals}
_LONGEST_LINE = 1 << 20
_PATIENCE = 0.5
_LARGEST_LOG = 4 << 20
_LEAVE = 10.0
"""Seconds that an idle process has for its end: what reports to a service sends the rest."""


Extra = tuple[Callable[[], Found | None], Callable[[Mapping[str, str]], None]]
R = TypeVar("R", LegResult, Rehearsal)


class Stopped(BaseException):
    """SIGTERM came while no step was in progress."""


class TrainingProcess:
    """A child process; ``lock`` is a descriptor that it keeps open, ``log`` a file for its output.

    Without ``log`` the output goes where this process's errors go. Raises LegFailed if it cannot be started.
    """

    def __init__(self, lock: int | None = None, log: str | None = None) -> None:
        try:
            self._reading, writing = os.pipe()
        except OSError as error:
            raise LegFailed(f"the training process cannot be started: {error.strerror or error}") from error
        self._output = _opened(log)
        self._rest = b""
        keep = [writing] if lock is None else [writing, lock]
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from audit.training.child import main; main({writing})"],
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno() if log is None else self._output or subprocess.DEVNULL,
                stderr=sys.stderr.fileno() if log is None else self._output or subprocess.DEVNULL,
                pass_fds=keep,
                process_group=0,  # Ctrl-C reaches this process alone, which passes it on, once
                text=True,
            )
        except OSError as error:
            os.close(self._reading)
            if self._output is not None:
                self._output.close()
            raise LegFailed(f"the training process cannot be started: {error.strerror or error}") from error
        finally:
            os.close(writing)

    def leg(
        self, trainer: TrainingBackend, request: LegRequest, tell: Tell, last: bool = True, extra: Extra | None = None
    ) -> LegResult:
        """Train one leg. Raises what the leg raised, and LegFailed if the process died.

        ``extra``: what is asked for something to log while it is trained, and what is told why that was not taken.

        Returns when the process has ended; unless it is the ``last`` one, when it waits for another. If this raises,
        the process is of no more use: :meth:`kill` it.
        """
        start = _size(self._output)
        end: LegResult | AuditError | None = None
        step: int | None = None
        with _passing_on(self._child) as asked:
            self._send(trainer, request, last)
            for message in self._messages():
                if isinstance(message, LegResult | AuditError):
                    end = message
                    if not last:
                        break
                    continue
                if isinstance(message, Logged) and extra is not None:
                    extra[1](message.failed)
                if isinstance(message, Rehearsal | Logged):
                    continue  # nobody asked for a rehearsal
                found = extra[0]() if extra is not None and end is None else None
                if found is not None:
                    self._send(trainer, request, False, {"found": _fields(found), "meanwhile": True})
                step = message.step if isinstance(message, Step) else step
                tell(message)
            code = self._child.wait() if end is None or last else 0
        try:
            result = _outcome(code, end, step, _last_output(self._output, start))
        except LegFailed as error:
            error.stopped_by = next(iter(asked), None)
            raise
        # A signal that came too late for the leg still ends this call.
        return result._replace(stopped_by=result.stopped_by or next(iter(asked), None))

    def rehearse(
        self, trainer: TrainingBackend, request: RehearsalRequest, tell: Tell, seconds: float | None = None
    ) -> Rehearsal:
        """Rehearse one leg; the process ends with it, after ``seconds`` at the latest.

        Raises what the rehearsal raised, LegFailed if the process died; its kind is "timeout" if it took too long.
        """
        start = _size(self._output)
        end: Rehearsal | AuditError | None = None
        late = threading.Event()
        asked = {"steps": request.steps, "arrivals": request.arrivals}
        with _passing_on(self._child), _killed_after(self._child, seconds, late):
            self._send(trainer, request.leg, True, {"rehearse": asked})
            for message in self._messages():
                if isinstance(message, Rehearsal | AuditError):
                    end = message
                elif not isinstance(message, LegResult | Logged):
                    tell(message)
            code = self._child.wait()
        if end is None and late.is_set():
            raise LegFailed(f"it took longer than {seconds:g} s, and was ended", "timeout")
        return _outcome(code, end, None, _last_output(self._output, start))

    def log(self, trainer: TrainingBackend, request: LegRequest, found: Found) -> Mapping[str, str]:
        """Log what was found to the trackers of the leg that it has trained; return why one did not take it.

        Raises what it raised, LegFailed if it died, or took longer than it may: it is then of no more use.
        """
        late = threading.Event()
        with _passing_on(self._child), _killed_after(self._child, found.seconds + _SLACK, late):
            self._send(trainer, request, False, {"found": _fields(found)})
            for message in self._messages():
                if isinstance(message, AuditError):
                    raise message
                if isinstance(message, Logged):
                    return message.failed
        if late.is_set():
            late_by = f"it took longer than {found.seconds:g} s"
            raise LegFailed(f"{late_by}, so the training process was ended", "timeout")
        raise LegFailed("the training process has ended meanwhile")

    def waits(self) -> bool:
        """Whether it can be asked for another leg. One whose log has grown large makes way for one with a new log."""
        return self._child.poll() is None and _size(self._output) <= _LARGEST_LOG

    def close(self) -> None:
        """Let it end by itself, as it has nothing to do; kill it if it does not."""
        try:
            self._close_requests()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_LEAVE)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, if it still runs, and what the training left behind, such as workers that read data."""
        if self._reading < 0:
            return
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._close_requests()
        os.close(self._reading)
        self._reading = -1
        if self._output is not None:
            self._output.close()

    def _send(
        self, trainer: TrainingBackend, request: LegRequest, last: bool, more: Mapping[str, Any] | None = None
    ) -> None:
        fields = {**request._asdict(), "data": request.data._asdict()}
        document = {"backend": trainer.name, "parent": os.getpid(), "request": fields, **(more or {})}
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it died already, which is reported by the caller
            self._child.stdin.write(json.dumps(document) + "\n")
            self._child.stdin.flush()
        if last:
            self._close_requests()

    def _close_requests(self) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()

    def _messages(self) -> Iterator[Message]:
        """Yield what the child sends until it ends; a worker that outlives it may keep the pipe open."""
        import select

        while True:
            ended = self._child.poll() is not None
            if select.select([self._reading], [], [], 0 if ended else _PATIENCE)[0]:
                block = os.read(self._reading, 1 << 16)
                *lines, self._rest = (self._rest + block).split(b"\n")
                self._rest = self._rest[-_LONGEST_LINE:]
                for line in lines:
                    message = read_message(line)
                    if message is not None:
                        yield message
                if not block:
                    return
            elif ended:
                return


def _fields(found: Found) -> dict[str, Any]:
    return {**found._asdict(), "judged": [item._asdict() for item in found.judged]}


def _opened(log: str | None) -> IO[bytes] | None:
    """Open the log for appending; a large one is renamed first.

    None if it cannot be opened: the output is lost, and a full disk is reported where it matters.
    """
    if log is None:
        return None
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        if os.path.exists(log) and os.path.getsize(log) > _LARGEST_LOG:
            os.replace(log, f"{log}.1")
        # Appended to, as libraries write through descriptors of their own.
        return open(log, "a+b", opener=_regular)
    except OSError:
        return None


def _size(log: IO[bytes] | None) -> int:
    try:
        return 0 if log is None else os.fstat(log.fileno()).st_size
    except OSError:
        return 0


def _regular(path: str, flags: int) -> int:
    # A link in the log's place could lead anywhere; writing to a FIFO or a device may never end.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", path)
    return descriptor


@contextmanager
def _passing_on(child: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to the child, which finishes its step; the list holds those that were received.

    A second SIGINT raises KeyboardInterrupt at once. Only the main thread may catch signals.
    """
    asked: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        if number == signal.SIGINT and asked.count(number) > 1:
            raise KeyboardInterrupt
        if child.poll() is None:
            child.send_signal(number)

    with caught(pass_on):
        yield asked


@contextmanager
def _killed_after(child: "subprocess.Popen[str]", seconds: float | None, late: threading.Event) -> Iterator[None]:
    """Kill the child if the block takes longer than so many seconds, and set ``late``."""

    def end_it() -> None:
        late.set()
        child.kill()

    watch = threading.Timer(seconds, end_it) if seconds is not None else None
    if watch is not None:
        watch.daemon = True
        watch.start()
    try:
        yield
    finally:
        if watch is not None:
            watch.cancel()


def _outcome(code: int, end: R | AuditError | None, step: int | None, words: str) -> R:
    """Return the result; raise the error that was sent, or a LegFailed with how the process ended."""
    if isinstance(end, AuditError):
        raise end
    if end is not None:
        return end
    if code == -signal.SIGINT:  # these end it only while no step is in progress
        raise KeyboardInterrupt
    if code == -signal.SIGTERM:
        raise Stopped
    output = f"; last output: {words}" if words else ""
    if code < 0:
        name = _SIGNALS.get(-code, f"signal {-code}")
        hint = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
        raise LegFailed(f"the training process was killed by {name}{hint}{output}", "killed", step)
    raise LegFailed(f"the training process ended with code {code}, without a result{output}", "exit", step)


def _last_output(log: IO[bytes] | None, start: int) -> str:
    """Return the last line that the process printed, at or after the offset ``start``."""
    if log is None:
        return ""
    try:
        size = os.fstat(log.fileno()).st_size
        lines = os.pread(log.fileno(), _TAIL, max(start, size - _TAIL)).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


_SLACK = 1.0
"""Seconds more than trackers may take, in which the process says by itself which one is late."""
