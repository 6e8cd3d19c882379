"""The next leg of a batch, and how the ledger holds it."""

import os
from typing import NamedTuple

from audit.backend.training import LegRequest
from audit.ledger.events import LegBegun
from audit.training.inbox import DataFile


class Work(NamedTuple):
    """The next leg: what to train, of which batch. ``begun`` is the first step of the batch, before which it was not.

    ``file`` is the data file where the user put it, ``held`` the same one under the name that the leg reads it by.
    """

    request: LegRequest
    batch: str
    file: DataFile
    held: DataFile
    begun: int
    examples: int | None
    per_step: int | None
    epochs: int

    def shown(self, text: str) -> str:
        """Return what a backend said, with the name of the data file that the user knows."""
        return text.replace(self.held.path, self.file.path)


def begun(work: Work, processes: int) -> LegBegun:
    """Return the event that the leg begins."""
    request = work.request
    return LegBegun(
        batch=work.batch,
        file=work.file.name,
        bytes=work.file.size,
        first_step=request.first_step,
        last_step=request.last_step,
        first_example=request.data.first,
        examples=work.examples,
        examples_per_step=work.per_step,
        epochs=work.epochs,
        order=request.data.order,
        seed=request.seed,
        horizon=request.horizon,
        decay_steps=request.decay_steps,
        processes=processes,
        resumed_from=os.path.basename(request.resume_from) if request.resume_from else None,
    )
