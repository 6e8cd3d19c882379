"""The shape of every row of ``audit train``: the kind "batch", told apart by ``event``."""

from typing import Any

from audit.ledger.json_values import Content, Written

BATCH = "batch"


def batch_row(event: str, content: dict[str, Any], absent: tuple[str, ...] = ()) -> Written:
    """Return a row; ``absent`` are keys to leave out instead of writing null."""
    for key in absent:
        if content[key] is None:
            del content[key]
    return BATCH, {"event": event, **content}


def is_batch(content: Content, event: str) -> bool:
    """Whether a row is one of this event, on one batch."""
    return content.get("event") == event and isinstance(content.get("batch"), str)
