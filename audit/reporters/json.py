"""The JSON report, version 1, as described by ``audit/schemas/report-1.json``."""

import json
from collections.abc import Sequence
from typing import Any

from audit.findings import Severity
from audit.hookspecs import PLAIN, Context
from audit.report import Report
from audit.version import __version__

SCHEMA_VERSION = 1


def render(reports: Sequence[Report], context: Context = PLAIN) -> str:
    """Return one report as a JSON object, several, or none, as ``{"schema_version": 1, "runs": [...]}``.

    The shape depends on how many runs were asked for, not on how many of them could be audited.
    """
    documents = [document(report) for report in reports]
    alone = len(documents) == 1 and not context.unaudited
    whole = documents[0] if alone else {"schema_version": SCHEMA_VERSION, "runs": documents}
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "checkpoint-audit", "version": __version__},
        "run": {
            "path": _text(report.path),
            "backend": report.backend,
            "latest_step": report.latest_step,
            "save_total_limit": report.save_total_limit,
        },
        "verdict": report.verdict,
        "resume_from": report.resume_from,
        "pinned": report.pinned,
        "checkpoints": [_plain(item._asdict()) for item in report.checkpoints],
        "findings": [_plain(item._asdict()) for item in report.findings],
        "outcomes": [_plain(item._asdict()) for item in report.outcomes],
        "summary": {
            "errors": report.count(Severity.ERROR),
            "warnings": report.count(Severity.WARNING),
            "infos": report.count(Severity.INFO),
            "accepted": report.accepted,
            "files": report.files,
            "bytes_read": report.bytes_read,
            "seconds": round(report.seconds, 4),
            "depth": report.depth,
        },
        "notes": [_text(note) for note in report.notes],
    }


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in fields.items()}


def _value(value: Any) -> Any:
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return str(value)  # NaN and Infinity are no JSON
    if isinstance(value, str):
        return _text(str(value.value) if hasattr(value, "value") else value)
    return value


def _text(text: str) -> str:
    """File names may hold bytes that are no UTF-8; Python carries them as lone surrogates, which no encoder takes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
