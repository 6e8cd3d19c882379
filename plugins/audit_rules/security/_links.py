"""Links in a run's root."""

from audit.run import Run
from audit.storage import Entry


def leads_inside(run: Run, link: Entry) -> bool:
    """Say whether a link in the run's root leads to something else that is there."""
    target = (link.target or "").rstrip("/").rpartition("/")[2]
    return target in run.entries and target != link.name
