"""The built-in reporters, on the same hook that outsiders use."""

from collections.abc import Sequence

from audit.hookspecs import Reporter, hookimpl
from audit.report import Report


def _console(reports: Sequence[Report], *, color: bool = False, verbosity: int = 0) -> str:
    from audit.reporters import console

    return console.render(reports, color=color, verbosity=verbosity)


def _json(reports: Sequence[Report], *, color: bool = False, verbosity: int = 0) -> str:
    from audit.reporters import json

    return json.render(reports, color=color, verbosity=verbosity)


@hookimpl
def audit_reporters() -> dict[str, Reporter]:
    """Formats by name; each module is imported when it is asked for."""
    return {"console": _console, "json": _json}
