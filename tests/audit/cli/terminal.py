"""A command on a terminal of its own: keys go in, and what is on the screen can be asked for."""

import os
import pty
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from fcntl import ioctl
from termios import TIOCSWINSZ
from types import TracebackType

from tests.audit.cli.conftest import command

PATIENCE = 120.0
"""Seconds; a command that takes longer fails its test instead of holding up all others."""


class Terminal:
    """Start ``audit`` with ``arguments`` as the leader of a session on a new terminal, so that Ctrl-C reaches it."""

    def __init__(self, arguments: Sequence[str], columns: int = 80, rows: int = 40, **environment: str) -> None:
        self.seen = ""
        self._code: int | None = None
        line = command(arguments)
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI", "COLUMNS", "LINES")}
        sys.stdout.flush()
        self.pid, self._master = pty.fork()
        if not self.pid:
            try:
                ioctl(0, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execve(line[0], line, {**kept, "TERM": "xterm", **environment})
            finally:
                os._exit(127)

    def send(self, keys: str) -> None:
        """Type ``keys``; ``\\x03`` is Ctrl-C, ``\\x04`` Ctrl-D."""
        os.write(self._master, keys.encode())

    def until(self, there: str | Callable[[str], bool]) -> str:
        """Return all that was seen, once a text is in it or a condition holds. Raises AssertionError after a while."""
        deadline = time.monotonic() + PATIENCE
        while not (there in self.seen if isinstance(there, str) else there(self.seen)):
            assert self._more(deadline), f"ended, or took too long:\n{self.seen[-3000:]}"
        return self.seen

    def ended(self) -> int:
        """Wait for the end and return the exit code, that of a signal as a shell does."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.close() if time.monotonic() < deadline else self._killed()

    def close(self) -> int:
        """Collect the process, which has ended."""
        if self._code is None:
            _, status = os.waitpid(self.pid, 0)
            os.close(self._master)
            code = os.waitstatus_to_exitcode(status)
            self._code = code if code >= 0 else 128 - code
        return self._code

    def _more(self, deadline: float) -> bool:
        """Read what comes next; False at the end."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            chunk = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux: the other side is closed
            chunk = b""
        self.seen += chunk.decode("utf-8", "replace")
        return bool(chunk)

    def _killed(self) -> int:
        os.kill(self.pid, signal.SIGKILL)
        self.close()
        raise AssertionError(f"does not end:\n{self.seen[-3000:]}")

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.close()
