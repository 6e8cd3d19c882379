"""The error value of every reader: a file that could not be read, and why."""

from enum import Enum
from typing import NamedTuple


class Kind(str, Enum):
    """Why a file could not be read. Each kind is reported by one rule, named in the comment."""

    UNREADABLE = "unreadable"  # files/unreadable: the operating system refuses
    EMPTY = "empty"  # files/empty-file
    PLACEHOLDER = "placeholder"  # files/placeholder: a git-lfs pointer and the like
    MALFORMED = "malformed"  # integrity/json, integrity/safetensors, integrity/archive, by the file's format
    OVERSIZED = "oversized"  # security/oversized: more than any real file, so it is not read
    UNSAFE = "unsafe"  # security/unsafe-pickle


class Damage(NamedTuple):
    """What is wrong with a file: ``message`` completes the sentence "FILE ..." in plain words."""

    kind: Kind
    message: str
    offset: int | None = None
