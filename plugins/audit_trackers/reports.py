"""The newest report of a run, and what of it is logged."""

import os

from audit.plugin import (
    BROKEN,
    SOUND,
    SUSPECT,
    Judged,
    Options,
    PushQueued,
    PushState,
    Report,
    checkpoint_name,
    judged_of,
    open_ledger,
    verify,
)

_HEARD: dict[str, Report | None] = {}
_NUMBER = {SOUND: 0.0, SUSPECT: 1.0, BROKEN: 2.0}
ENDPOINT = "https://huggingface.co"


def numbers_of(judged: Judged) -> dict[str, float]:
    """Return what is logged as metrics; the verdict is 0 (sound), 1 (suspect) or 2 (broken)."""
    return {
        "audit/errors": float(judged.errors),
        "audit/warnings": float(judged.warnings),
        "audit/resumable_step": float(judged.resumable_step),
        "audit/verdict": _NUMBER.get(judged.verdict, 2.0),
    }


def listen(run: str) -> None:
    """Keep the reports of a run from now on."""
    _HEARD[os.path.realpath(run)] = None


def hear(report: Report) -> None:
    """Keep a report of a run that somebody listens to."""
    if _HEARD:
        run = os.path.realpath(report.path)
        if run in _HEARD:
            _HEARD[run] = report


def found_at(run: str, step: int) -> Judged:
    """Return what the newest verification found, made now if none has seen the checkpoint. Raises AuditError."""
    checkpoint = checkpoint_name(step)
    key = os.path.realpath(run)
    report = _HEARD.get(key)
    if report is None or all(item.name != checkpoint for item in report.checkpoints):
        report = verify(run, Options(settle_seconds=0.0, allow_empty=True))
    if key in _HEARD:
        _HEARD[key] = None  # the next save has a report of its own
    return judged_of(report, step)


def urls_of(run: str, since: str = "") -> dict[str, tuple[int, str]]:
    """Return step and address of the checkpoints that ``audit hub`` has pushed since a time, by push.

    Raises LedgerError.
    """
    ledger = open_ledger(run, False)
    if ledger is None:
        return {}
    try:
        rows = ledger.rows()
    finally:
        ledger.close()
    base = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    queued: dict[str, PushQueued] = {}
    found = {}
    for row in rows:
        event = row.event
        if isinstance(event, PushQueued):
            queued[event.id] = event
        elif (
            isinstance(event, PushState)
            and event.id in queued
            and event.state in ("pushed", "verified")
            and event.repo
            and row.time >= since
        ):
            inside = f"/{queued[event.id].folder}" if queued[event.id].folder else ""
            at = event.commit or queued[event.id].branch
            found[event.id] = (queued[event.id].step, f"{base}/{event.repo}/tree/{at}{inside}")
    return found
