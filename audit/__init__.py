"""Can this training run's checkpoints be trusted?

``audit.verify(run)`` judges a run from its files alone and returns a :class:`audit.report.Report`. Nothing of the
run is executed, imported or changed. The names here are the public ones; everything else may move.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""

from typing import TYPE_CHECKING, Any

from audit.version import __version__ as __version__

__all__ = ["Acceptance", "AuditError", "Finding", "Options", "Report", "ResumeRefused", "Severity", "guard", "verify"]

if TYPE_CHECKING:
    from audit.api import guard, verify
    from audit.errors import AuditError
    from audit.findings import Acceptance, Finding, Severity
    from audit.judging.decision import ResumeRefused
    from audit.options import Options
    from audit.report import Report

_HOMES = {
    "Acceptance": "audit.findings",
    "verify": "audit.api",
    "guard": "audit.api",
    "ResumeRefused": "audit.judging.decision",
    "AuditError": "audit.errors",
    "Finding": "audit.findings",
    "Options": "audit.options",
    "Severity": "audit.findings",
    "Report": "audit.report",
}


if not TYPE_CHECKING:  # or every misspelt name would be a value of any type

    def __getattr__(name: str) -> Any:
        """Import a public name at its first use, so that ``audit --version`` pays for none of them."""
        if name not in _HOMES:
            raise AttributeError(f"module 'audit' has no attribute '{name}'")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
