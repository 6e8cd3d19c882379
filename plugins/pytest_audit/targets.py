"""What ``--audit`` names: a run, one checkpoint of it, or the id of one item as pytest printed it."""

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from audit.plugin import locate_run

_ITEM = re.compile(r"(?P<path>.+)::(?P<rule>[^/:]+/[^/:]+)")


class Part(NamedTuple):
    """A part of a run: one checkpoint (None: all of them and the run itself), one rule (None: all)."""

    checkpoint: str | None
    rule: str | None


class Target(NamedTuple):
    """One run to judge: its absolute path, the first part of its items' ids, and the parts that are wanted."""

    root: str
    id: str
    parts: tuple[Part, ...]

    @property
    def path(self) -> str:
        """What to verify: the run, or its one checkpoint if no other is wanted."""
        only, *others = {part.checkpoint for part in self.parts}
        return self.root if only is None or others else os.path.join(self.root, only)

    def holds(self, checkpoint: str | None, rule: str) -> bool:
        """Whether this item is wanted; with a checkpoint, the rules about the whole run are, too."""
        for part in self.parts:
            if part.rule is None and (part.checkpoint is None or checkpoint in (None, part.checkpoint)):
                return True
            if part.rule == rule and part.checkpoint == checkpoint:
                return True
        return False


def targets_of(words: Iterable[str], directory: str, rootdir: str) -> tuple[Target, ...]:
    """Group what was named by run; relative paths start at ``directory``. Raises AuditError if there is no such run."""
    found: dict[str, list[Part]] = {}
    for word in words:
        item = _ITEM.fullmatch(word)
        path, rule = (item["path"], item["rule"]) if item else (word, None)
        root, only = locate_run(os.path.normpath(os.path.join(directory, path)))
        found.setdefault(root, []).append(Part(only[0] if only else None, rule))
    return tuple(Target(root, identity(root, rootdir), tuple(parts)) for root, parts in found.items())


def identity(path: str, rootdir: str) -> str:
    """Return the path as ids have it: relative to the root directory, so that --lf knows it from anywhere."""
    return os.path.relpath(path, rootdir).replace(os.sep, "/")
