"""Links in a run's root."""

import posixpath

from audit.plugin import Entry, Run


def leads_inside(run: Run, link: Entry) -> bool:
    """Say whether a link in the run's root leads to another entry there."""
    target = link.target or ""
    names = {target.rstrip("/").rpartition("/")[2]}
    if not target.startswith("/"):
        names.add(posixpath.normpath(target).partition("/")[0])
    return bool(names & (run.entries.keys() - {link.name}))
