"""One leg in a process of its own: what kills the training does not kill what has to tell of it.

A crash in a driver, an out-of-memory kill, a leak: the audit outlives them and writes down the reason. The process is
bound to this one: it ends when its parent does, and it keeps the run's lock as long as it lives.
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
from audit.training.events import Message, checked, read_message

RunLeg = Callable[[TrainingBackend, LegRequest, Tell], LegResult]
_TAIL = 4096
_SIGNALS = {int(item): item.name for item in signal.Signals}
_LONGEST_LINE = 1 << 20
_PATIENCE = 0.5
_LARGEST_LOG = 4 << 20


class Stopped(BaseException):
    """SIGTERM came while no step was in progress: nothing is half done."""


def here(trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
    """Run the leg in this process: where a launcher has started several that belong together."""

    def tell_checked(event: Progress) -> None:
        known = checked(event)
        if known is not None:
            tell(known)

    return trainer.train(request, tell_checked)


class InChild:
    """Run legs in child processes; ``lock`` is a descriptor that they keep open, ``log`` a file for what they print.

    Without ``log`` their output goes where this process's errors go.
    """

    def __init__(self, lock: int | None = None, log: str | None = None) -> None:
        self._lock, self._log = lock, log

    def __call__(self, trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
        """Run one leg. Raises what it raised, and LegFailed where the process died."""
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
            words = _last_words(output, start)
        finally:
            _end(child)
            os.close(reading)
            if output is not None:
                output.close()
        result = _outcome(code, end, step, words)
        # One that came too late for the leg still ends this call.
        return result._replace(stopped_by=result.stopped_by or next(iter(asked), None))

    def _output(self) -> IO[bytes] | None:
        """Open the log for appending; the one before is kept once it has grown large.

        None where it cannot be opened: what is printed is lost, and a full disk shall fail where it matters.
        """
        if self._log is None:
            return None
        try:
            os.makedirs(os.path.dirname(self._log), exist_ok=True)
            if os.path.exists(self._log) and os.path.getsize(self._log) > _LARGEST_LOG:
                os.replace(self._log, f"{self._log}.1")
            # Appended to: libraries write through descriptors of their own.
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
            pass  # it died already; that is told below
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()


def _regular(path: str, flags: int) -> int:
    # A link in the log's place could lead anywhere, into a FIFO or a device it could write for ever.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a file", path)
    return descriptor


def _end(child: "subprocess.Popen[str]") -> None:
    """End what the training left behind, such as workers that read data; and the training itself, if it is in the way."""
    if child.poll() is None:
        child.kill()
        child.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _messages(descriptor: int, child: "subprocess.Popen[str]") -> Iterator[Message]:
    """Yield what the child sends until it ends; one of its workers that lives on may keep the pipe open."""
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
    """Pass SIGINT and SIGTERM on to the child, which finishes its step; the list holds those that came.

    A second SIGINT, by an impatient hand, raises KeyboardInterrupt at once. Only the main thread may catch signals.
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
    """Return the result; raise the error that was sent, or else say how the process ended, after which ``step``."""
    if isinstance(end, LegResult):
        return end
    if end is not None:
        raise end
    if code == -signal.SIGINT:  # these end it only where no step is in progress
        raise KeyboardInterrupt
    if code == -signal.SIGTERM:
        raise Stopped
    said = f"; its last words: {words}" if words else ""
    if code < 0:
        name = _SIGNALS.get(-code, f"signal {-code}")
        hint = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
        raise LegFailed(f"the training process was killed by {name}{hint}{said}", "killed", step)
    raise LegFailed(f"the training process ended with code {code}, without a result{said}", "exit", step)


def _last_words(log: IO[bytes] | None, start: int) -> str:
    """Return the last line that the process printed; what was printed before ``start`` is another's."""
    if log is None:
        return ""
    try:
        size = os.fstat(log.fileno()).st_size
        lines = os.pread(log.fileno(), _TAIL, max(start, size - _TAIL)).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
