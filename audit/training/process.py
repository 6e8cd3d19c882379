"""One leg in a process of its own: what kills the training does not kill the audit, which records why.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from audit.backend.signals import caught
from audit.backend.training import LegFailed, LegRequest, LegResult, Progress, Step, Tell, TrainingBackend
from audit.errors import AuditError
from audit.training.messages import Message, checked, read_message

RunLeg = Callable[[TrainingBackend, LegRequest, Tell], LegResult]
_TAIL = 4096
_SIGNALS = {int(item): item.name for item in signal.Signals}
_LONGEST_LINE = 1 << 20
_PATIENCE = 0.5
_LARGEST_LOG = 4 << 20


class Stopped(BaseException):
    """SIGTERM came while no step was in progress."""


def here(trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
    """Run the leg in this process: one of several that a launcher has started."""

    def tell_checked(event: Progress) -> None:
        known = checked(event)
        if known is not None:
            tell(known)

    return trainer.train(request, tell_checked)


class InChild:
    """Run legs in child processes; ``lock`` is a descriptor that they keep open, ``log`` a file for their output.

    Without ``log`` their output goes where this process's errors go.
    """

    def __init__(self, lock: int | None = None, log: str | None = None) -> None:
        self._lock, self._log = lock, log

    def __call__(self, trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
        """Run one leg. Raises what the leg raised, and LegFailed if the process died."""
        try:
            reading, writing = os.pipe()
        except OSError as error:
            raise LegFailed(f"the training process cannot be started: {error.strerror or error}") from error
        keep = [writing] if self._lock is None else [writing, self._lock]
        output = self._output()
        start = output.tell() if output is not None else 0
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from audit.training.child import main; main({writing})"],
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno() if self._log is None else output or subprocess.DEVNULL,
                stderr=sys.stderr.fileno() if self._log is None else output or subprocess.DEVNULL,
                pass_fds=keep,
                process_group=0,  # Ctrl-C reaches this process alone, which passes it on, once
                text=True,
            )
        except OSError as error:
            os.close(reading)
            if output is not None:
                output.close()
            raise LegFailed(f"the training process cannot be started: {error.strerror or error}") from error
        finally:
            os.close(writing)
        end: LegResult | AuditError | None = None
        step: int | None = None
        words = ""
        try:
            with _passing_on(child) as asked:
                self._send(child, trainer, request)
                for message in _messages(reading, child):
                    if isinstance(message, LegResult | AuditError):
                        end = message
                        continue
                    step = message.step if isinstance(message, Step) else step
                    tell(message)
                code = child.wait()
            words = _last_output(output, start)
        finally:
            _end(child)
            os.close(reading)
            if output is not None:
                output.close()
        try:
            result = _outcome(code, end, step, words)
        except LegFailed as error:
            error.stopped_by = next(iter(asked), None)
            raise
        # A signal that came too late for the leg still ends this call.
        return result._replace(stopped_by=result.stopped_by or next(iter(asked), None))

    def _output(self) -> IO[bytes] | None:
        """Open the log for appending; a large one is renamed first.

        None if it cannot be opened: the output is lost, and a full disk is reported where it matters.
        """
        if self._log is None:
            return None
        try:
            os.makedirs(os.path.dirname(self._log), exist_ok=True)
            if os.path.exists(self._log) and os.path.getsize(self._log) > _LARGEST_LOG:
                os.replace(self._log, f"{self._log}.1")
            # Appended to, as libraries write through descriptors of their own.
            return open(self._log, "a+b", opener=_regular)
        except OSError:
            return None

    def _send(self, child: "subprocess.Popen[str]", trainer: TrainingBackend, request: LegRequest) -> None:
        fields = {**request._asdict(), "data": request.data._asdict()}
        document = {"backend": trainer.name, "parent": os.getpid(), "request": fields}
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(document))
        except BrokenPipeError:
            pass  # it died already, which is reported below
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()


def _regular(path: str, flags: int) -> int:
    # A link in the log's place could lead anywhere; writing to a FIFO or a device may never end.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", path)
    return descriptor


def _end(child: "subprocess.Popen[str]") -> None:
    """End what the training left behind, such as workers that read data, and the training itself if it still runs."""
    if child.poll() is None:
        child.kill()
        child.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _messages(descriptor: int, child: "subprocess.Popen[str]") -> Iterator[Message]:
    """Yield what the child sends until it ends; a worker that outlives it may keep the pipe open."""
    import select

    rest = b""
    while True:
        ended = child.poll() is not None
        if select.select([descriptor], [], [], 0 if ended else _PATIENCE)[0]:
            block = os.read(descriptor, 1 << 16)
            *lines, rest = (rest + block).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in lines:
                message = read_message(line)
                if message is not None:
                    yield message
            if not block:
                return
        elif ended:
            return


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


def _outcome(code: int, end: LegResult | AuditError | None, step: int | None, words: str) -> LegResult:
    """Return the result; raise the error that was sent, or a LegFailed with how the process ended."""
    if isinstance(end, LegResult):
        return end
    if end is not None:
        raise end
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
