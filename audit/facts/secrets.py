"""Where tokens and keys may be in a checkpoint in clear text; what they look like is in :mod:`audit.text`."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.backend.protocol import Backend
from audit.facts.file import File
from audit.text import credentials, is_placeholder


def secrets_in(
    backend: Backend, arguments: Mapping[str, Any], document: Mapping[str, Any] | None, files: Mapping[str, File]
) -> Iterator[tuple[str, str, str]]:
    """Yield (file, where in it, secret) for every secret of one checkpoint, each once per file.

    ``document`` is its trainer state without the log, which has only numbers and is long.
    """
    path = backend.arguments_file
    found: dict[str, str] = {}
    for name in ("hub_token", "push_to_hub_token"):
        value = arguments.get(name)
        if isinstance(value, str) and not is_placeholder(value):
            found.setdefault(value, f", {name}")
    for token in _inside(arguments):
        found.setdefault(token, "")
    yield from ((path, name, token) for token, name in found.items())
    yield from ((backend.state_file, "", token) for token in _inside(document))
    for path, file in files.items():
        if path != backend.state_file:
            yield from ((path, "", token) for token in file.secrets)


def _inside(values: Any) -> Iterator[str]:
    for text in _texts(values):
        yield from credentials(text.encode("utf-8", "replace"))


def _texts(value: Any, depth: int = 6) -> Iterator[str]:
    """Yield all texts inside plain values (dictionaries and lists)."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from _texts(item, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, depth - 1)
