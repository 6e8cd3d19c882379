"""The built-in reporters, on the same hook that outsiders use."""

from collections.abc import Sequence
from importlib import import_module

from audit.hookspecs import Context, Reporter, hookimpl
from audit.report import Report

FORMATS = ("console", "github", "json", "junit", "sarif")


@hookimpl
def audit_reporters() -> dict[str, Reporter]:
    """Formats by name; each module is imported when it is asked for."""
    return {name: _late(name) for name in FORMATS}


def _late(name: str) -> Reporter:
    def render(reports: Sequence[Report], context: Context) -> str:
        text: str = import_module(f"audit.reporters.{name}").render(reports, context)
        return text

    return render
