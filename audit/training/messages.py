"""What the child process that trains a leg sends through its pipe: progress, and last the result or the error.

A leg that is rehearsed sends a :class:`audit.backend.rehearsal.Rehearsal` as its result, trackers that were logged to
a :class:`Logged`.

One message is one line of JSON, written by :func:`message_line` and read by :func:`read_message`.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.backend.rehearsal import Arrival, Compared, Rehearsal, Replayed
from audit.backend.training import BadData, LegFailed, LegResult, Note, Phase, Progress, Step
from audit.errors import AuditError, ConfigError
from audit.training.events import as_json, from_json


class Logged(NamedTuple):
    """The trackers have what was found after a leg, but for those that ``failed``: why, by their names."""

    failed: Mapping[str, str]


Message = Progress | LegResult | Rehearsal | Logged | AuditError
RESULT, ERROR, REHEARSAL, LOGGED = "result", "error", "rehearsal", "logged"


def message_line(message: Message) -> str:
    """Return a message as one line of JSON, its line end included. Raises TypeError for anything else."""
    return json.dumps(_document(message), default=str) + "\n"


def read_message(line: bytes) -> Message | None:
    """Return the message in one line of the pipe; None for anything else, such as a truncated line.

    A result or an error of another shape is a LegFailed.
    """
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    try:
        if document.get("event") == RESULT:
            return _result(document)
        if document.get("event") == REHEARSAL:
            return _rehearsal(document)
        if document.get("event") == LOGGED:
            return Logged({str(name): str(reason) for name, reason in document["failed"].items()})
        if document.get("event") == ERROR:
            return _error(document)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as wrong:
        return LegFailed(f"the training process sent a result that cannot be understood: {wrong!r}")
    return _progress(document)


def checked(event: Progress) -> Progress | None:
    """Return the progress that a backend in this process tells; None if its values are of other types.

    Raises TypeError for what is neither a Step nor a Phase nor a Note.
    """
    return _progress(as_json(event))


def _document(message: Message) -> Mapping[str, Any]:
    if isinstance(message, LegResult):
        return {"event": RESULT, **message._asdict()}
    if isinstance(message, Rehearsal):
        return {"event": REHEARSAL, **message._asdict()}
    if isinstance(message, Logged):
        return {"event": LOGGED, **message._asdict()}
    if isinstance(message, BadData):
        return {"event": ERROR, "kind": "data", "path": message.path, "row": message.row, "reason": message.reason}
    if isinstance(message, LegFailed):
        return {"event": ERROR, "kind": "leg", "reason": message.reason, "how": message.kind, "step": message.step}
    if isinstance(message, AuditError):
        kind = "config" if isinstance(message, ConfigError) else "audit"
        return {"event": ERROR, "kind": kind, "reason": str(message)}
    return as_json(message)


def _progress(document: Mapping[str, Any]) -> Progress | None:
    event = from_json(document)
    return event._replace(file=None) if isinstance(event, Step | Phase | Note) else None


def _result(document: Mapping[str, Any]) -> LegResult:
    losses = tuple((int(step), float(loss)) for step, loss in document["losses"])
    return LegResult(int(document["first_step"]), int(document["last_step"]), losses, _maybe(document["stopped_by"]))


def _rehearsal(document: Mapping[str, Any]) -> Rehearsal:
    return Rehearsal(
        restored=tuple(Compared(*part) for part in document["restored"]),
        steps=tuple(
            Replayed(int(step), loss, norm, rate, None if taken is None else tuple(taken))
            for step, loss, norm, rate, taken in document["steps"]
        ),
        arrivals=tuple(
            Arrival(int(step), tuple(Compared(*part) for part in parts)) for step, parts in document["arrivals"]
        ),
        dtype=str(document["dtype"]),
        device=str(document["device"]),
        draws=document["draws"],
        restore_seconds=float(document["restore_seconds"]),
        seconds=float(document["seconds"]),
    )


def _error(document: Mapping[str, Any]) -> AuditError:
    if document["kind"] == "data":
        return BadData(str(document["path"]), _maybe(document["row"]), str(document["reason"]))
    if document["kind"] == "leg":
        return LegFailed(str(document["reason"]), str(document["how"]), _maybe(document["step"]))
    return (ConfigError if document["kind"] == "config" else AuditError)(str(document["reason"]))


def _maybe(value: Any) -> int | None:
    return None if value is None else int(value)
