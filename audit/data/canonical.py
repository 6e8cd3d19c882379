"""Rows in one shape: what several formats write differently is the same to the one that tokenizes it (docs/data.md)."""

from collections.abc import Mapping
from typing import Any

from audit.data.row_formats import RowFormat, role_of

READ: Mapping[str, tuple[str, ...]] = {
    RowFormat.TEXT: ("text",),
    RowFormat.MESSAGES: ("messages", "tools"),
    RowFormat.PROMPT_COMPLETION: ("prompt", "completion", "tools"),
    RowFormat.INPUT_IDS: ("input_ids", "labels"),
    RowFormat.PREFERENCE: ("prompt", "chosen", "rejected", "tools"),
    RowFormat.ALPACA: ("instruction", "input", "output", "system"),
}
"""The keys of a row in its one shape, by format; that of ShareGPT is the one of messages."""


def canonical(row: Mapping[str, Any], format: str) -> Mapping[str, Any]:
    """Return what is trained of a valid row, without keys that are ignored.

    The content of messages is a string, and a ShareGPT conversation is ``messages``.
    """
    if format == RowFormat.SHAREGPT:
        messages = [_message(item) for item in row["conversations"]]
        if "system" in row:
            messages.insert(0, {"role": "system", "content": row["system"]})
        return {"messages": messages, **({"tools": row["tools"]} if "tools" in row else {})}
    kept = {key: row[key] for key in READ[format] if key in row}
    if format == RowFormat.ALPACA:
        return {key: value for key, value in kept.items() if value}  # an empty input is none
    if format in (RowFormat.MESSAGES, RowFormat.PROMPT_COMPLETION, RowFormat.PREFERENCE):
        return {key: _joined_all(value) if key != "tools" else value for key, value in kept.items()}
    return kept


def _joined_all(messages: Any) -> Any:
    """Return a list of messages with joined parts; a string as it is."""
    return [_joined(message) for message in messages] if isinstance(messages, list) else messages


def _joined(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message with its content as a string: parts are joined as they are."""
    content = message.get("content")
    return {**message, "content": "".join(part["text"] for part in content)} if isinstance(content, list) else message


def _message(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"role": role_of(item), "content": item["value" if item.get("from") is not None else "content"]}
