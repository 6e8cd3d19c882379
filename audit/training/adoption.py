"""What a run has that its ledger does not record: steps of no batch, files in ``done`` of no batch.

So it is after ``.audit`` was deleted, after an old copy of the run was restored, or if the run was trained by another
program. Only the ledger records which examples were trained, so nobody knows, and a person must say (``--adopt``).
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from audit.ledger.batch_events import Adopted, BatchEvent, Retired
from audit.ledger.timeline import Timeline
from audit.training.config import DELETE, Data
from audit.training.data_files import DataFile, DataFiles, trained

NAMED = 3
"""Files that a message names."""


class Unrecorded(NamedTuple):
    """What the ledger does not record: ``step`` of the checkpoint if it is of no batch, else 0; ``files`` of done."""

    step: int
    files: tuple[tuple[DataFile, str], ...]
    """With their digests."""

    def rows(self) -> list[Adopted]:
        """Return what the ledger records when a person has adopted this."""
        steps = [Adopted("", "", self.step)] if self.step else []
        return steps + [Adopted(digest, file.name, self.step) for file, digest in self.files]

    def refusal(self, run: str, checkpoint: str | None, data: Data, begun: Iterable[str]) -> str:
        """Return what is unknown, what to do, and what ``--adopt`` assumes; ``begun`` are names of held files."""
        unknown, ways, assumes = [], [], []
        if self.step:
            unknown.append(f"{checkpoint} (step {self.step}) belongs to no batch that it records")
            ways.append("restore .audit/ if it was deleted")
            assumes.append("that no file in the inbox was trained in these steps")
        if self.files:
            names = ", ".join(file.name for file, _ in self.files[:NAMED])
            names += f" and {len(self.files) - NAMED} more" if len(self.files) > NAMED else ""
            unknown.append(
                f"{data.done} has {len(self.files)} file{'s' * (len(self.files) != 1)} that it does not know ({names})"
            )
            ways.append(f"move files that are to be trained from done to {data.inbox}")
            assumes.append("that the files in done were trained")
        held = ", ".join(begun)
        again = f"; {held} was being trained, and would be trained from its first example" if held and self.step else ""
        empty = "has no checkpoint (a training would begin at step 0), and " if checkpoint is None else ""
        return (
            f"{run}: {empty}its ledger does not record which examples were trained: {'; '.join(unknown)}; "
            f"{', or '.join(ways)}; --adopt continues and assumes {' and '.join(assumes)}{again}"
        )


def unrecorded(
    timeline: Timeline, events: Iterable[BatchEvent], step: int, data: Data, files: DataFiles
) -> Unrecorded | None:
    """Return what of the run at ``step`` the ledger does not record, None if there is nothing."""
    owner = timeline.owner(step)
    batch = timeline.batch(owner.batch) if owner is not None else None
    known = step <= timeline.adopted or not step
    if owner is not None and not known:
        ended = batch is not None and batch.trained and owner.last_step is not None
        known = not ended or step <= (owner.last_step or 0)
    found = [] if data.after == DELETE else list(_of_no_batch(timeline, events, data, files))
    if known and not found:
        return None
    return Unrecorded(0 if known else step, tuple(found))


def _of_no_batch(
    timeline: Timeline, events: Iterable[BatchEvent], data: Data, files: DataFiles
) -> Iterable[tuple[DataFile, str]]:
    """Yield the files in ``done`` that no batch put there. Only those of unknown names are read."""
    names = {os.path.basename(row.to) for row in events if isinstance(row, Retired) and row.to}
    names |= set(timeline.adopted_files.values())
    for file in trained(data):
        if file.name in names or not data.takes(file.name):
            continue
        digest = files.digest(file)
        if digest and timeline.batch(digest) is None and digest not in timeline.adopted_files:
            yield file, digest
