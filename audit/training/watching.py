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
