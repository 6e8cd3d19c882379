"""How much memory the contents of a run's files may take together."""

RUN_MEMORY = 160 << 20
"""Bytes, about, beyond what the tensors in the files account for: the largest log, or a thousand odd files."""

FREE = 192 << 10
"""Bytes of each file that are not counted: real configurations, schedulers and random states take less, and those of a
few checkpoints are held at a time."""

LASTING = 64 << 20
"""Bytes that are not counted of what is kept of all checkpoints: trainer states, schedulers, training arguments."""

BYTES_PER_UNIT = 9
"""Of a unit of work of :mod:`audit.formats.pickles`."""


class Allowance:
    """What is left of the memory for a run; one for all its files."""

    def __init__(self, size: int = RUN_MEMORY) -> None:
        self._left = size
        self._spare = LASTING

    def take(self, size: int) -> bool:
        """Count a file's contents of about ``size`` bytes; False if they are too much and must not be kept."""
        counted = max(0, size - FREE)
        if counted > self._left:
            return False
        self._left -= counted
        return True

    def keep(self, size: int) -> bool:
        """Count about ``size`` bytes that are kept until the end of the audit; False if they are too much for that.

        However small it is: twenty thousand checkpoints keep twenty thousand times as much.
        """
        counted = max(0, size - self._spare)
        if counted > self._left:
            return False
        self._spare -= size - counted
        self._left -= counted
        return True

    def give(self, size: int) -> None:
        """Give back what was taken for contents that are no longer kept."""
        self._left += max(0, size - FREE)
