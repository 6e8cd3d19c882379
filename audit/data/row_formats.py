"""The shapes of a row: which format it has, and what is wrong with it (docs/data.md)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from audit.text import shortened

AUTO = "auto"


class RowFormat(StrEnum):
    """Which keys a row has."""

    TEXT = "text"
    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt-completion"
    INPUT_IDS = "input_ids"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    PREFERENCE = "preference"


FORMATS: Mapping[str, tuple[str, ...]] = {
    RowFormat.TEXT: ("text",),
    RowFormat.MESSAGES: ("messages",),
    RowFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    RowFormat.INPUT_IDS: ("input_ids",),
    RowFormat.ALPACA: ("instruction", "output"),
    RowFormat.SHAREGPT: ("conversations",),
    RowFormat.PREFERENCE: ("chosen", "rejected"),
}
"""The keys that a row of each format has. Others are ignored, except optional ones such as ``labels``."""

ROLES: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
"""The role of a message of ShareGPT by what it is from."""

IGNORED = -100
"""The label of a token that is not trained on."""


def format_of(row: Mapping[str, Any]) -> str | None:
    """Return the one format whose keys the row has, None if none or several fit."""
    fitting = [name for name, keys in FORMATS.items() if all(key in row for key in keys)]
    return fitting[0] if len(fitting) == 1 else None


def no_format(row: Mapping[str, Any], found: str | None, wanted: str | None) -> str:
    """Return why a row is in no format, or not in that of the rows before it."""
    if found is not None and wanted is not None:
        return f"has {'/'.join(FORMATS[found])}, the rows before have {'/'.join(FORMATS[wanted])}"
    fitting = [name for name, keys in FORMATS.items() if all(key in row for key in keys)]
    if fitting:
        return f"has the keys of {' and '.join(fitting)}; set data.format to one of them"
    return (
        f"has {_keys(row)}; a row needs text, or messages, or prompt and completion, or input_ids, "
        "or instruction and output, or conversations, or chosen and rejected"
    )


def _keys(row: Mapping[str, Any]) -> str:
    return ", ".join(_short(key) for key in list(row)[:8]) or "no key with a value"


def wrong(row: Mapping[str, Any], format: str) -> str | None:
    """Return what is wrong with a row of this format, None if it is valid."""
    for key in FORMATS[format]:
        if key not in row:
            return f"has no {key}, which rows of the format {format} need; it has {_keys(row)}"
    if format == RowFormat.TEXT:
        return _wrong_text("text", row["text"])
    if format == RowFormat.MESSAGES:
        return _wrong_messages("messages", row["messages"]) or _wrong_tools(row)
    if format == RowFormat.INPUT_IDS:
        return _wrong_ids(row)
    if format == RowFormat.ALPACA:
        return _wrong_alpaca(row)
    if format == RowFormat.SHAREGPT:
        return _wrong_conversations(row) or _wrong_tools(row)
    keys: tuple[str, ...] = ("prompt", "completion")
    if format == RowFormat.PREFERENCE:
        keys = ("prompt", "chosen", "rejected") if "prompt" in row else ("chosen", "rejected")
    return _wrong_parts(row, keys) or _wrong_tools(row)


def _wrong_parts(row: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return what is wrong with parts that are strings, or else lists of messages."""
    if len({isinstance(row[key], list) for key in keys}) > 1:
        every = "both" if len(keys) == 2 else "all"
        return f"{', '.join(keys[:-1])} and {keys[-1]} must {every} be strings, or {every} lists of messages"
    check = _wrong_messages if isinstance(row[keys[0]], list) else _wrong_text
    return next((reason for key in keys if (reason := check(key, row[key])) is not None), None)


def _wrong_text(key: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{key} is {kind_of(value)}; it must be a string"
    if not value:
        return f"{key} is empty"
    return (
        None if value.isascii() or _is_unicode(value) else f"{key} contains half of a surrogate pair, which is not text"
    )


def _wrong_messages(key: str, value: Any) -> str | None:
    if not isinstance(value, list):
        return f'{key} is {kind_of(value)}; it must be a list of messages, {{"role": ..., "content": ...}} each'
    if not value:
        return f"{key} is empty"
    for index, message in enumerate(value):
        where = f"{key}[{index}]"
        if not isinstance(message, dict):
            return f'{where} is {kind_of(message)}; a message is {{"role": ..., "content": ...}}'
        role, content = message.get("role"), message.get("content")
        if role is None:
            return f"{where} has no role; a message has role and content"
        reason = _wrong_text(f"{where}.role", role)
        if reason is not None:
            return reason
        if content is None and message.get("tool_calls") is None:
            return f"{where} has no content; a message has role and content"
        reason = _wrong_content(f"{where}.content", content)
        if reason is not None:
            return reason
    return None


def _wrong_content(key: str, content: Any) -> str | None:
    """Return what is wrong with the content of a message: a string, or a list of parts that are text."""
    if not isinstance(content, list):
        return _wrong_text(key, content) if content not in (None, "") else None
    if not content:
        return f"{key} is empty"
    for index, part in enumerate(content):
        where = f"{key}[{index}]"
        if not isinstance(part, dict):
            return f'{where} is {kind_of(part)}; a part is {{"type": "text", "text": ...}}'
        if part.get("type") != "text":
            return f'{where}.type is {_short(part.get("type"))}; only parts of the type "text" can be trained on'
        if part.get("text") != "":
            reason = _wrong_text(f"{where}.text", part.get("text"))
            if reason is not None:
                return reason
    return None


def _wrong_alpaca(row: Mapping[str, Any]) -> str | None:
    if row.get("history"):
        return "has a history, which rows of the format alpaca cannot have; write the conversation as messages"
    for key in ("input", "system"):
        reason = _wrong_text(key, row[key]) if row.get(key, "") != "" else None
        if reason is not None:
            return reason
    return _wrong_text("instruction", row["instruction"]) or _wrong_text("output", row["output"])


def _wrong_conversations(row: Mapping[str, Any]) -> str | None:
    value = row["conversations"]
    if not isinstance(value, list):
        return f'conversations is {kind_of(value)}; it must be a list of {{"from": ..., "value": ...}}'
    if not value:
        return "conversations is empty"
    for index, item in enumerate(value):
        where = f"conversations[{index}]"
        if not isinstance(item, dict):
            return f'{where} is {kind_of(item)}; a message is {{"from": ..., "value": ...}}'
        name, content = ("from", "value") if item.get("from") is not None else ("role", "content")
        if item.get(name) is None or item.get(content) is None:
            return f"{where} has {_keys(item)}; a message has from and value, or role and content"
        if role_of(item) is None:
            return f"{where}.{name} is {_short(item[name])}; it must be one of {', '.join(ROLES)}"
        reason = _wrong_text(f"{where}.{content}", item[content]) if item[content] != "" else None
        if reason is not None:
            return reason
    if "system" not in row:
        return None
    if role_of(value[0]) == "system":
        return "has a system prompt twice, as system and in conversations"
    return _wrong_text("system", row["system"])


def role_of(item: Mapping[str, Any]) -> str | None:
    """Return the role of a message of ShareGPT, None if it is not known."""
    name = item["from"] if item.get("from") is not None else item.get("role")
    return ROLES.get(name) if isinstance(name, str) else None


def _wrong_tools(row: Mapping[str, Any]) -> str | None:
    tools = row.get("tools", [])
    if isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools):
        return None
    return "tools must be a list of JSON Schemas of functions, an object each"


def _wrong_ids(row: Mapping[str, Any]) -> str | None:
    ids = row["input_ids"]
    reason = _wrong_numbers("input_ids", ids, 0, "token ids are whole numbers from 0")
    if reason is not None or "labels" not in row:
        return reason
    labels = row["labels"]
    reason = _wrong_numbers(
        "labels", labels, IGNORED, "labels are token ids, or -100 for tokens that are not trained on"
    )
    if reason is not None:
        return reason
    if len(labels) != len(ids):
        return f"has {len(ids)} input_ids and {len(labels)} labels; their numbers must be equal"
    return None


def _wrong_numbers(key: str, value: Any, least: int, allowed: str) -> str | None:
    if not isinstance(value, list):
        return f"{key} is {kind_of(value)}; it must be a list of numbers"
    if not value:
        return f"{key} is empty"
    # type(), not isinstance: true and false are integers to Python
    if set(map(type, value)) == {int} and min(value) >= 0 and max(value) < 1 << 31:
        return None  # nearly always, and quickly checked
    for index, number in enumerate(value):
        if type(number) is not int or not least <= number < 1 << 31 or least < number < 0:
            return f"{key}[{index}] is {_short(number)}; {allowed}"
    return None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: Any) -> str:
    """Return the name of a value's type in JSON."""
    kinds = {
        bytes: "bytes",
        str: "a string",
        list: "a list",
        dict: "an object",
        bool: "true or false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _short(value: Any) -> str:
    return shortened(str(value).lower() if isinstance(value, bool) else repr(value))
