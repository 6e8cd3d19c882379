"""A run for people who look at it: its checkpoints as the files and the ledger show them, judged by structure alone.

Commands that show or choose checkpoints (``list``, ``show``, ``best``, ``export``) read no weights; they say what a
quick verification says, and where an earlier one at full depth has sealed a checkpoint. Nothing is recorded.
"""

from collections.abc import Mapping
from typing import NamedTuple

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run
from audit.facts.traces import no_checkpoint
from audit.judging.auditor import Auditor
from audit.judging.standing import Standing, rehearsed, standing
from audit.manager import Registry, load
from audit.options import Options
from audit.report import Report
from audit.views.summary import Overview, epochs_at, overview


class Inspection(NamedTuple):
    """A run, the judgement at quick depth, and the standing of every judged checkpoint by name."""

    run: Run
    report: Report
    standings: Mapping[str, Standing]

    def overview(self, checkpoint: Checkpoint) -> Overview:
        """One line about a checkpoint, its standing included."""
        standing = self.standings[checkpoint.name]
        line = overview(checkpoint)
        batches = self.run.records.batches
        epochs = None if batches.adopted else epochs_at(batches.batches, checkpoint.step)
        return line._replace(
            state=standing.state,
            reason=standing.reason,
            run_epoch=epochs,
            rehearsed=rehearsed(checkpoint, standing),
            by_structure=standing.by_structure,
        )


def inspect(path: str, options: Options | None = None, *, registry: Registry | None = None) -> Inspection:
    """Open a run, or one checkpoint of it, and judge it by its structure. Raises AuditError: no run, no checkpoint."""
    chosen = (options or Options())._replace(depth="quick", ledger=False, allow_empty=True)
    registry = registry or load()
    place = registry.place(path, chosen.ledger_dir)
    run, report = Auditor(chosen, registry).judge(place, place.records(write=False)[0])
    if not run.judged:
        raise AuditError(no_checkpoint(place.named, run.storage))
    return Inspection(run, report, {item.name: standing(item, report) for item in run.judged})
