"""What the ledger records of going back (``audit train --back-to``): the act, its end, the files that are given up."""

from collections.abc import Sequence
from typing import NamedTuple

from audit.backend.names import step_of
from audit.ledger.batch_row import batch_row, is_batch
from audit.ledger.json_values import Content, Written, as_file_name, as_text, as_whole

BACK, WENT_BACK, DROPPED = "back", "went-back", "dropped"


class GoingBack(NamedTuple):
    """A person takes the run back to ``checkpoint``, of ``step``: what follows it is given up (``--back-to``).

    Until a :class:`WentBack` follows, the act is not finished. ``place`` is where the checkpoint was, relative to the
    run; empty if it was in the run. ``drop`` are the batches, as (digest, file), that are never to be trained again.
    """

    checkpoint: str
    step: int
    place: str
    drop: Sequence[tuple[str, str]]

    @property
    def batch(self) -> str:
        """It is of no single batch."""
        return ""

    def row(self) -> Written:
        return batch_row(BACK, {**self._asdict(), "drop": [list(item) for item in self.drop]})

    @classmethod
    def read(cls, content: Content) -> "GoingBack | None":
        step, drop = as_whole(content.get("step")), content.get("drop")
        if step is None or step_of(as_text(content.get("checkpoint")) or "") != step:
            return None
        found = tuple(
            (item[0], as_file_name(item[1]))
            for item in (drop if isinstance(drop, list) else ())
            if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)
        )
        return cls(content["checkpoint"], step, as_text(content.get("place")) or "", found)


class WentBack(NamedTuple):
    """All that :class:`GoingBack` asks for is done: the checkpoint of ``step`` is the newest one of the run."""

    step: int

    @property
    def batch(self) -> str:
        """It is of no single batch."""
        return ""

    def row(self) -> Written:
        return batch_row(WENT_BACK, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "WentBack | None":
        step = as_whole(content.get("step"))
        return None if step is None else cls(step)


class Dropped(NamedTuple):
    """The data file of a batch that is never to be trained again was moved ``to`` this path, None if it was gone."""

    batch: str
    file: str
    to: str | None

    def row(self) -> Written:
        return batch_row(DROPPED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Dropped | None":
        if not is_batch(content, DROPPED):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_text(content.get("to")))
