"""The command's stderr: passed through, and its end kept for the message."""

import os
import re

KEPT_BYTES = 64 << 10
"""torchrun prints a table of some kilobytes after the traceback that matters."""
_LINES, _WIDTH = 3, 200
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_EXCEPTION = re.compile(r"(?:\[rank\d+\]: ?)?(?P<what>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)")
_SECOND_HAND = ("CalledProcessError", "ChildFailedError")
"""What launchers raise because what they started failed."""


class Tail:
    """The last bytes of a stream."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, descriptor: int) -> bool:
        """Read what there is, pass it to our stderr; False at its end."""
        while True:
            try:
                chunk = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._data = (self._data + chunk)[-KEPT_BYTES:]
            _pass_on(chunk)

    def reason(self) -> str:
        """Return the exception that ended the command, else its last lines, in one line; empty if it wrote nothing."""
        text = _ESCAPE.sub("", self._data.decode("utf-8", "replace"))
        lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
        for line in reversed(lines):
            found = _EXCEPTION.fullmatch(line)
            if found and not any(name in found["what"].partition(":")[0] for name in _SECOND_HAND):
                return found["what"][: 2 * _WIDTH]
        worth = [line[:_WIDTH] for line in lines if any(char.isalnum() for char in line)]
        return " / ".join(worth[-_LINES:])

    def kind(self) -> str:
        """Return the kind of a failure, for :class:`audit.backend.training.LegFailed`."""
        reason = self.reason()
        if "No space left on device" in reason:
            return "disk-full"
        if "OutOfMemory" in reason or "out of memory" in reason.lower() or reason.startswith("MemoryError"):
            return "out-of-memory"
        return "exit"


def _pass_on(chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        try:
            left = left[os.write(2, left) :]
        except OSError:
            return  # our stderr is closed, which must not block the command
