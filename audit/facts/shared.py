"""What the checkpoints of a run have in common, kept once."""

from sys import intern
from typing import Any


class Shared:
    """The last value of each kind: most are those of the checkpoint before, and 20 000 equal ones take memory."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def has(self, kind: str, value: Any) -> bool:
        """Whether the last value of this kind is the same as ``value``, down to the types."""
        last = self._last.get(kind)
        return last is value or (last == value and repr(last) == repr(value))  # 1 == True == 1.0

    def once(self, kind: str, value: Any) -> Any:
        """Return the last value of this kind if it is the same as ``value``, else ``value``."""
        if not self.has(kind, value):
            self._last[kind] = value
        return self._last.get(kind)

    def document(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of a JSON object whose keys are kept once, and nested values that are the last ones."""
        return {
            intern(key): self.once(f"{kind}/{key}", value) if type(value) in (dict, list, str) else value
            for key, value in document.items()
        }
