"""Registers the pages, each of which is imported at its first use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audit.plugin import FleetPage, Page, hookimpl

if TYPE_CHECKING:
    from audit.plugin import FleetView, RunCurves


def _html(runs: "Sequence[RunCurves]") -> str:
    from audit_html.page import render

    return render(runs)


def _fleet(view: "FleetView") -> str:
    from audit_html.fleet import render

    return render(view)


@hookimpl
def audit_pages() -> dict[str, Page]:
    """Return the page: one self-contained HTML file."""
    return {"html": _html}


@hookimpl
def audit_fleet_pages() -> dict[str, FleetPage]:
    """Return the page of a fleet: one self-contained HTML file without a script."""
    return {"html": _fleet}
