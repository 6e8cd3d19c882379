"""The daemon's rest: wait for files, take the daily snapshot."""

import time

from audit.errors import AuditError
from audit.training.session import Session

LONGEST_REST_MS = 60_000
"""Milliseconds: file systems that tell of no events (network mounts) are looked at once a minute all the same."""


def wait_for_files(session: Session) -> None:
    """Return when something changed in the inbox, when a file may have settled, or after a minute. Raises AuditError."""
    try:
        from watchfiles import watch
    except ImportError as error:
        raise AuditError(
            "--watch needs watchfiles, which is not installed: pip install 'checkpoint-audit[watch]'"
        ) from error
    inbox = session.config.data.inbox
    daily_snapshot(session)
    if session.unsettled is not None:
        time.sleep(session.unsettled)
        return
    session.say({"event": "waiting", "inbox": inbox})
    try:
        for _ in watch(
            inbox, rust_timeout=LONGEST_REST_MS, yield_on_timeout=True, recursive=False, raise_interrupt=True
        ):
            return
    except (OSError, RuntimeError) as error:
        raise AuditError(f"{inbox}: cannot be watched: {error}") from error


def daily_snapshot(session: Session, today: str | None = None) -> None:
    """Copy the newest proven checkpoint away, once a day if the configuration says where to.

    What keeps it from that is told and tried again at the next rest: training goes on without it.
    """
    from audit.snapshots import snapshot

    dest = session.config.watch.snapshots
    day = today or time.strftime("%Y-%m-%d")
    if dest is None or session.snapshot_day == day or not session.trained_any():
        return
    try:
        made = snapshot(session.config.run, dest, session.options, registry=session.registry, today=day)
    except AuditError as error:
        session.say({"event": "note", "text": f"no snapshot: {error}"})
        return
    session.snapshot_day = day
    if made.made:
        session.say({"event": "snapshot", "path": made.path, "checkpoint": made.checkpoint})
