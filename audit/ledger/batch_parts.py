"""What a batch is made of, if that is not one data file alone: several files, and examples of earlier batches."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from audit.ledger.json_values import as_file_name, as_text, as_whole


class Part(NamedTuple):
    """One of the data files of a batch: the digest of its bytes, its name, size, number and digest of its rows."""

    batch: str
    file: str
    bytes: int
    examples: int
    rows: str | None


class Drawn(NamedTuple):
    """Examples of an earlier batch that are trained again: the digest and the name of its file, its rows from 0."""

    batch: str
    file: str
    rows: tuple[int, ...]


def digest_of_parts(digests: Iterable[str]) -> str:
    """Return the digest of a batch of several files."""
    from blake3 import blake3

    return blake3("".join(f"{digest}\n" for digest in ("group", *digests)).encode()).hexdigest()


def as_parts(value: Any) -> tuple[Part, ...] | None:
    """Return what a row of the ledger lists; entries of another shape are left out."""
    if not isinstance(value, list):
        return None
    found = [item for item in value if isinstance(item, list | tuple) and len(item) == 5 and isinstance(item[0], str)]
    return tuple(
        Part(item[0], as_file_name(item[1]), as_whole(item[2]) or 0, as_whole(item[3]) or 0, as_text(item[4]))
        for item in found
    )


def as_drawn(value: Any) -> tuple[Drawn, ...] | None:
    """Return what a row of the ledger lists; entries of another shape are left out."""
    if not isinstance(value, list):
        return None
    found = [item for item in value if isinstance(item, list | tuple) and len(item) == 3 and isinstance(item[0], str)]
    return tuple(
        Drawn(item[0], as_file_name(item[1]), _rows(item[2])) for item in found if isinstance(item[2], list | tuple)
    )


def _rows(value: Sequence[Any]) -> tuple[int, ...]:
    return tuple(row for row in value if as_whole(row) is not None)
