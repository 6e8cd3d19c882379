"""Registers the page. What draws it is imported when it is asked for."""

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
    """One page in HTML, with everything in it that it needs."""
    return {"html": _html}
