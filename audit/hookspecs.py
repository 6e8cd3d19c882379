"""The hooks. They register lists; typed Python does the work, and nothing depends on the order of plugins.

A plugin is a module with hook implementations, named in the entry-point group ``audit``::

    from audit.hookspecs import hookimpl

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

hookspec = pluggy.HookspecMarker("audit")
hookimpl = pluggy.HookimplMarker("audit")

if TYPE_CHECKING:  # no command but `audit report` pays for it
    from audit.page import RunCurves


class Unaudited(NamedTuple):
    """A run that was asked for and could not be audited: there is no report of it, and that is not silence."""

    path: str
    reason: str


class Context(NamedTuple):
    """What a reporter may know beside the reports; a later version may add fields, so it is one value.

    ``color`` is true on a terminal that wants it. ``verbosity`` -1: the verdict only; 1: also what was not applicable.
    ``fail_on`` is the severity from which on the exit code is 1, None for never. ``rules`` are all that are installed,
    to look up the documentation of those that the reports name. ``unaudited`` are the other runs that were asked for.
    """

    color: bool = False
    verbosity: int = 0
    fail_on: Severity | None = Severity.ERROR
    rules: tuple[Rule, ...] = ()
    unaudited: tuple[Unaudited, ...] = ()


PLAIN = Context()

Reporter = Callable[[Sequence[Report], Context], str]
"""From reports to text, and nothing else: a reporter writes no file and prints nothing."""
Page = Callable[["Sequence[RunCurves]"], str]


@hookspec
def audit_rules() -> list[Rule]:
    """Return rules, made with :func:`audit.rules.rule`."""
    raise NotImplementedError


@hookspec
def audit_backends() -> list[Backend]:
    """Return trainer backends: how the checkpoints of a trainer lie on disk."""
    raise NotImplementedError


@hookspec
def audit_training_backends() -> list[TrainingBackend]:
    """Return backends that ``audit train`` can train with; docs/backends.md has a whole example."""
    raise NotImplementedError


@hookspec
def audit_reporters() -> dict[str, Reporter]:
    """Return reporters by format name, for ``audit verify --format``: ``render(reports, context) -> str``."""
    raise NotImplementedError


@hookspec
def audit_pages() -> dict[str, Page]:
    """Return pages for ``audit report`` by format name: ``render(runs: Sequence[RunCurves]) -> str``, one file in all.

    :mod:`audit.views.curves` says what a page gets. Text in it comes from the audited files: escape it.
    """
    raise NotImplementedError


@hookspec
def audit_checkpoint_verified(report: Report, checkpoint: str) -> None:
    """Observe: a checkpoint has been judged; ``report`` is the finished report of its run."""
