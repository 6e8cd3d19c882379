"""What of a report goes into a tracker, beside the loss of its step."""

from audit.backend.training import Judged
from audit.findings import Severity
from audit.report import Report
from audit.text import veiled


def judged_of(report: Report, step: int) -> Judged:
    """Return what the report of a run says after the save of ``step``."""
    worst = max(report.counting, key=lambda item: item.severity.rank, default=None)
    return Judged(
        step,
        report.verdict,
        report.count(Severity.ERROR),
        report.count(Severity.WARNING),
        next((item.step for item in report.checkpoints if item.name == report.resume_from), -1),
        veiled(f"{worst.message} ({worst.rule})") if worst is not None else "",
    )
