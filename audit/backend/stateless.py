"""What backends share whose trainer writes no trainer state: only names and files tell of a checkpoint."""

import re
from collections.abc import Mapping
from typing import ClassVar

from audit.storage import DIRECTORY, Entry


class Stateless:
    """The part of a :class:`audit.backend.protocol.Backend` whose checkpoints have no trainer state and no log in them.

    A subclass gives ``pattern``, which matches the whole name of a checkpoint's directory; its last group is N. As text
    it is compiled when a run is looked at, and not by every command.
    """

    state_file = ""
    arguments_file = ""
    pattern: ClassVar[str | re.Pattern[str]]

    def checkpoint_step(self, name: str) -> int | None:
        """Return N of the name of a directory that is saved to, else None."""
        found = re.fullmatch(self.pattern, name)
        return int(found[found.re.groups]) if found else None

    def recognises(self, entries: Mapping[str, Entry]) -> bool:
        """Say whether a run's root holds a directory of such a name; ``wrote`` tells whose it is."""
        return any(entry.kind == DIRECTORY and re.fullmatch(self.pattern, name) for name, entry in entries.items())
