"""The table of faults: a kind of damage, the run it is done to, and the rule that must name it."""

from collections.abc import Callable
from typing import NamedTuple

Damage = Callable[[str], object]
"""Gets the run's directory."""


class Fault(NamedTuple):
    """One kind of damage.

    ``rule`` must be the only one at or above warning; ``checkpoint`` is the one it must accuse (None: the run).
    ``resume`` is what may be resumed from afterwards; ``depth`` is the cheapest that finds it.
    """

    title: str
    group: str
    base: str
    damage: Damage
    rule: str
    checkpoint: str | None
    resume: str | None
    severity: str
    depth: str
    blocks: bool


FAULTS: dict[str, Fault] = {}


class Group:
    """Adds faults under one heading, with what they have in common."""

    def __init__(self, title: str, base: str, newest: str, before: str | None) -> None:
        self.title, self.base, self.newest, self.before = title, base, newest, before

    def add(
        self,
        title: str,
        rule: str,
        damage: Damage,
        *,
        severity: str = "error",
        blocks: bool = True,
        depth: str = "quick",
        checkpoint: str | None = "newest",
        resume: str | None = "by blocks",
    ) -> None:
        """Put one fault into the table; ``blocks`` says that the newest checkpoint must not be resumed from."""
        accused = self.newest if checkpoint == "newest" else checkpoint
        left = (self.before if blocks else self.newest) if resume == "by blocks" else resume
        assert title not in FAULTS, title
        FAULTS[title] = Fault(title, self.title, self.base, damage, rule, accused, left, severity, depth, blocks)
