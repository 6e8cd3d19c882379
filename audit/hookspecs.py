"""The hooks. Each registers a list or observes; nothing depends on the order of plugins.

A plugin is a module with hook implementations, named in the entry-point group ``audit``::

    from audit.plugin import hookimpl

    @hookimpl
    def audit_rules():
        return [my_rule]
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pluggy

from audit.backend.layout import Backend
from audit.backend.training import TrainingBackend
from audit.findings import Severity
from audit.report import Report
from audit.rules import Rule
from audit.storage import Storage

hookspec = pluggy.HookspecMarker("audit")
hookimpl = pluggy.HookimplMarker("audit")
"""Marks a function of a plugin as the implementation of the hook of its name."""

if TYPE_CHECKING:  # no command but `audit report` pays for it
    from audit.page import RunCurves


class Unaudited(NamedTuple):
    """A run that was named and could not be audited, with the reason; there is no report of it."""

    path: str
    reason: str


class Context(NamedTuple):
    """What a reporter gets beside the reports. A later version may add fields.

    ``color`` is true on a terminal that wants it. ``verbosity`` -1: the verdict only; 1: also what was not applicable.
    ``fail_on`` is the lowest severity for which the exit code is 1, None for never. ``rules`` are all installed rules,
    for the documentation of those that the reports name. ``unaudited`` are the other runs that were named.
    """

    color: bool = False
    verbosity: int = 0
    fail_on: Severity | None = Severity.ERROR
    rules: tuple[Rule, ...] = ()
    unaudited: tuple[Unaudited, ...] = ()


PLAIN = Context()

Reporter = Callable[[Sequence[Report], Context], str]
"""Returns reports as text; writes no file and prints nothing."""
Page = Callable[["Sequence[RunCurves]"], str]
"""Returns what is known of runs as the text of one file."""
StorageOpener = Callable[[str], Storage]
"""Opens what is below a URL, which has no query and no password. Raises AuditError, without a secret in it."""


@hookspec
def audit_rules() -> list[Rule]:
    """Return rules, made with :func:`audit.plugin.rule`."""
    raise NotImplementedError


@hookspec
def audit_backends() -> list[Backend]:
    """Return trainer backends: what the files of a trainer's checkpoints are."""
    raise NotImplementedError


@hookspec
def audit_training_backends() -> list[TrainingBackend]:
    """Return backends that ``audit train`` can train with; docs/backends.md has a complete example."""
    raise NotImplementedError


@hookspec
def audit_reporters() -> dict[str, Reporter]:
    """Return reporters by format name, for ``audit verify --format``: ``render(reports, context) -> str``."""
    raise NotImplementedError


@hookspec
def audit_pages() -> dict[str, Page]:
    """Return pages for ``audit report`` by format name: ``render(runs: Sequence[RunCurves]) -> str``, one file for all.

    Text in :class:`audit.plugin.RunCurves` comes from the audited files: escape it.
    """
    raise NotImplementedError


@hookspec
def audit_storages() -> dict[str, StorageOpener]:
    """Return what opens a run behind a URL, by scheme in lower case: ``open(url) -> Storage``."""
    raise NotImplementedError


@hookspec
def audit_checkpoint_verified(report: Report, checkpoint: str) -> None:
    """Observe that a checkpoint was judged; ``report`` is the finished report of its run."""
