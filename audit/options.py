"""How to verify: the value that the configuration and the command line fill in, and its defaults."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from audit.findings import Acceptance, Severity
from audit.rules import Rule

SETTLE_SECONDS = 60.0
"""A checkpoint without its last file is "in progress" while a file in it is younger than this."""

JOBS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Threads that read files by default: more than eight wait for the memory."""


class Options(NamedTuple):
    """How to verify. ``scrub`` is the share (0 to 1) of sealed, unchanged bytes that is read again.

    ``select`` and ``ignore`` hold rule ids or families; ``fail_on`` None means never. ``accept``: the findings that a
    person has judged and accepts. ``ledger_dir``: where the ledgers of runs behind a URL are kept; None is the user's
    state directory.
    """

    depth: str = "full"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: Severity | None = Severity.ERROR
    jobs: int = JOBS
    settle_seconds: float = SETTLE_SECONDS
    allow_empty: bool = False
    ledger: bool = True
    cache: bool = True
    backend: str | None = None
    scrub: float = 0.0
    severity: Mapping[str, Severity] = {}
    rules: Mapping[str, Mapping[str, Any]] = {}
    accept: tuple[Acceptance, ...] = ()
    ledger_dir: str | None = None

    def chosen(self, rules: Sequence[Rule]) -> tuple[Rule, ...]:
        """The rules that ``select`` and ``ignore`` leave."""

        def named(rule: Rule, names: tuple[str, ...]) -> bool:
            return rule.id in names or rule.family in names

        return tuple(
            rule for rule in rules if (not self.select or named(rule, self.select)) and not named(rule, self.ignore)
        )
