"""The rows of a leg that are not those of one data file: several files as one batch, and examples of earlier batches.

They are written into one file of JSON Lines, so that a backend trains them as it trains any file. It is made anew for
each leg, from files whose digests the ledger records: it is always the same.
"""

import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from audit.audit_dir import AUDIT_DIR, MIXED, make, replaced
from audit.backend.training import BadData
from audit.data.rows import COLUMNS, read_rows
from audit.errors import AuditError
from audit.ledger.batch_parts import Drawn
from audit.ledger.batches import Batch
from audit.training.data_files import DataFile, digest_of, seen, unchanged


class Source(NamedTuple):
    """A data file whose rows are trained. ``rows`` are those that are taken, from 0; None: all ``of_all`` of them.

    ``rows_digest`` is that of all its rows; None if only the backend can read them.
    """

    file: DataFile
    digest: str
    rows_digest: str | None
    of_all: int
    rows: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """How many rows are taken."""
        return self.of_all if self.rows is None else len(self.rows)


def draw(pool: Sequence[Batch], share: float, count: int, text: str) -> tuple[Drawn, ...]:
    """Draw rows of earlier files for a batch of ``count`` rows: ``share`` of that many, each at most once.

    The same for the same ``text`` and the same pool on every machine: of the module random, only ``random()`` is
    promised never to change.
    """
    sizes = [item.rows or 0 for item in pool]
    total = sum(sizes)
    wanted = min(total, replayed(share, count))
    chance = random.Random(text).random
    places: dict[int, int] = {}
    chosen = []
    for taken in range(wanted):  # the beginning of a shuffle, of which only what moved is kept
        other = taken + int(chance() * (total - taken))
        chosen.append(places.get(other, other))
        places[other] = places.get(taken, taken)
    found = []
    begin, rest = 0, iter(sorted(chosen))
    place = next(rest, None)
    for item, size in zip(pool, sizes, strict=True):
        rows = []
        while place is not None and place < begin + size:
            rows.append(place - begin)
            place = next(rest, None)
        if rows:
            found.append(Drawn(item.digest, item.file, tuple(rows)))
        begin += size
    return tuple(found)


def replayed(share: float, count: int) -> int:
    """Return how many rows are replayed with ``count`` rows, if there are as many."""
    return int(share * count + 0.5)


def mix(run: str, sources: Iterable[Source]) -> tuple[DataFile, str]:
    """Write the rows of all sources into one file of the run; return it and its digest.

    Raises BadData for a row that cannot be written, ChangedError if a source is not what its digest says.
    """
    home = make(run, AUDIT_DIR, "several files cannot be trained as one")
    path = os.path.join(home, os.path.basename(MIXED))
    try:
        with replaced(path) as scratch, open(scratch, "x", encoding="utf-8") as out:
            for source in sources:
                if digest_of(source.file) != source.digest:
                    raise ChangedError(source)
                out.writelines(_taken(source))
                if not unchanged(source.file):
                    raise ChangedError(source)
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror or error}") from error
    file = seen(path, os.path.basename(path))
    assert file is not None
    return file, digest_of(file)


class ChangedError(Exception):
    """A source was written into since its digest was taken."""

    def __init__(self, source: Source) -> None:
        self.source = source
        super().__init__(source.file.path)


def mixed_rows(sources: Iterable[Source]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows that :func:`mix` would write, as they would be read again. Raises BadData as it does."""
    number = 0
    for source in sources:
        for line in _taken(source):
            number += 1
            yield number, json.loads(line)


def place_of(sources: Iterable[Source], row: int) -> tuple[int, int] | None:
    """Return which source a row of the written file (from 1) is of, and its number there; None if it is of none.

    Raises BadData if the source cannot be read.
    """
    left = row - 1
    for place, source in enumerate(sources):
        if left < source.size:
            index = left if source.rows is None else source.rows[left]
            return place, next((number for number, _ in islice(read_rows(source.file.path), index, None)), index + 1)
        left -= source.size
    return None


def _taken(source: Source) -> Iterator[str]:
    wanted = None if source.rows is None else frozenset(source.rows)
    for index, (number, row) in enumerate(read_rows(source.file.path)):
        if wanted is None or index in wanted:
            yield _line(source.file.path, number, row)


def _line(path: str, number: int, row: Mapping[str, Any]) -> str:
    """Return what of a row may be trained, as JSON that is read back as it was."""
    try:
        kept = {key: value for key, value in row.items() if key in COLUMNS}
        return json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"cannot be written as JSON, as data.group and data.replay need: {error}"
        raise BadData(path, number, reason) from error
