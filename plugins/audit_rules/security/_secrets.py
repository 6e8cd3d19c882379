"""Where credentials may be in a checkpoint; what they look like is in :mod:`audit.text`."""

from collections.abc import Iterator
from typing import Any

# Words and numbers by the hundred thousand, in which any pattern comes up by chance.
_VOCABULARIES = (
    "tokenizer", "vocab", "merges", "added_tokens", "special_tokens_map", "normalizer", "spiece", "sentencepiece", "bpe"
)  # fmt: skip


def is_vocabulary(path: str) -> bool:
    """Say whether a file of this name holds words rather than settings."""
    name = path.rpartition("/")[2]
    return name != "tokenizer_config.json" and name.lower().startswith(_VOCABULARIES)


def texts(value: Any, depth: int = 6) -> Iterator[str]:
    """Return all texts inside plain values (dictionaries and lists)."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from texts(item, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from texts(item, depth - 1)
