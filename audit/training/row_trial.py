"""The rows of a planned leg, made into examples as the leg does before its first step; nothing is kept or written."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from audit.backend.training import BadData, LegData, TrainingBackend
from audit.data.row_formats import AUTO
from audit.data.rows import checked_rows
from audit.errors import ConfigError
from audit.training.drafting import Work
from audit.training.mixing import mixed_rows

MOST_ROWS, MOST_BYTES = 10_000, 64 << 20
"""Of a file with more, only the first rows are tried: a tokenizer writes some thousand rows a second."""
MOST_IN_ALL, FEWEST = 50_000, 100
"""Rows of all files of a plan; of a file that comes after that many, a few are tried."""

Rows = Iterable[tuple[int, Mapping[str, Any], str]]
Try = Callable[[Rows, LegData], str | None]


class Tried(NamedTuple):
    """How many ``rows`` of a leg were tried; ``notes``: what was not, and why."""

    rows: int
    notes: tuple[str, ...] = ()


class RowTrial:
    """Tries the rows of one plan. The backend loads what it needs for that once."""

    def __init__(self, trainer: TrainingBackend) -> None:
        self._make = getattr(trainer, "row_trial", None) if trainer.reads_rows else None
        self._try: Try | None = None
        self._held_out: str | None = None
        self._left = MOST_IN_ALL

    def tried(self, work: Work) -> Tried | None:
        """Make examples of a leg's rows; None if the backend does not offer that.

        Raises what the leg would: BadData, ConfigError.
        """
        if self._make is None:
            return None
        settings, data = work.request.settings, work.request.data
        self._try = self._try or self._make(settings)
        assert self._try is not None
        of_all = (work.examples or 0) // work.epochs
        size = sum(source.file.size for source in work.sources) or work.file.size
        most = min(MOST_ROWS, max(FEWEST, self._left), max(1, MOST_BYTES * of_all // max(size, 1)))
        counted = _Counted(islice(_rows(work), most))
        notes = [self._try(counted, data), self._try_held_out(data)]
        self._left -= counted.number
        if counted.number < of_all:
            name = work.file.name
            notes.append(
                f"{name}: only the first {counted.number} of its {of_all} rows were made into examples; audit data with "
                "--config reads every row of a file"
            )
        return Tried(counted.number, tuple(note for note in notes if note is not None))

    def _try_held_out(self, data: LegData) -> str | None:
        """Try the rows of ``data.eval``, once; return what was not tried. Raises ConfigError."""
        path = data.options.get("eval")
        if path is None or path == self._held_out:
            return None
        self._held_out = path
        rows = checked_rows(path, data.options.get("format", AUTO))
        assert self._try is not None
        try:
            self._try(islice(rows, MOST_ROWS), data._replace(path=path, order=None, epochs=1, first=0))
            more = next(rows, None) is not None
        except BadData as error:  # not the fault of the file that is trained
            raise ConfigError(f"data.eval: {error}") from error
        return f"data.eval: only its first {MOST_ROWS} rows were made into examples" if more else None


class _Counted:
    """Rows, of which ``number`` were taken."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self.number = rows, 0

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any], str]]:
        for self.number, row in enumerate(self._rows, 1):  # noqa: B020  counted as they are taken
            yield row


def _rows(work: Work) -> Rows:
    """Return the rows that the leg reads."""
    data = work.request.data
    rows = mixed_rows(work.sources) if work.sources else None
    return checked_rows(data.path, data.options.get("format", AUTO), rows)
