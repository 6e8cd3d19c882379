"""Hears of verifications in this process, for the callback, which then need not make one of its own.

And logs what ``audit train`` has found after its legs.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.plugin import Report, hookimpl

if TYPE_CHECKING:
    from audit.plugin import Judged


@hookimpl
def audit_checkpoint_verified(report: Report, checkpoint: str) -> None:
    """Keep the report, if the callback has asked for those of its run."""
    reports = sys.modules.get("audit_trackers.reports")
    if reports is not None:
        reports.hear(report)


@hookimpl
def audit_legs_judged(
    run: str, judged: "Sequence[Judged]", since: str, writers: Sequence[Any], without: Collection[str]
) -> Mapping[str, str]:
    """Log it to the trackers that are open in this process."""
    from audit_trackers.telling import log_judged

    return log_judged(run, judged, since, writers, without)
