"""The hooks. They register lists; typed Python does the work, and nothing depends on the order of plugins.

A plugin is a module with hook implementations, named in the entry-point group ``audit``::

    from audit.hookspecs import hookimpl

    @hookimpl
    def audit_rules():
        return [my_rule]
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pluggy

from audit.backend import Backend
from audit.legs import TrainingBackend
from audit.report import Report
from audit.rules import Rule

hookspec = pluggy.HookspecMarker("audit")
hookimpl = pluggy.HookimplMarker("audit")

if TYPE_CHECKING:  # no command but `audit report` pays for it
    from audit.curves import RunCurves

Reporter = Callable[..., str]
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
    """Return reporters by format name: ``render(reports: Sequence[Report], *, color: bool, verbosity: int) -> str``."""
    raise NotImplementedError


@hookspec
def audit_pages() -> dict[str, Page]:
    """Return pages for ``audit report`` by format name: ``render(runs: Sequence[RunCurves]) -> str``, one file in all.

    :mod:`audit.curves` says what a page gets. Text in it comes from the audited files: escape it.
    """
    raise NotImplementedError


@hookspec
def audit_checkpoint_verified(report: Report, checkpoint: str) -> None:
    """Observe: a checkpoint has been judged; ``report`` is the finished report of its run."""
