"""Registers the page, which is imported at its first use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audit.plugin import Page, hookimpl

if TYPE_CHECKING:
    from audit.plugin import RunCurves


def _html(runs: "Sequence[RunCurves]") -> str:
    from audit_html.page import render

    return render(runs)


@hookimpl
def audit_pages() -> dict[str, Page]:
    """Return the page: one self-contained HTML file."""
    return {"html": _html}
