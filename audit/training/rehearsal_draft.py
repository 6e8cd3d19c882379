"""The leg that a rehearsal trains again: what the ledger says was trained after a checkpoint, from the same data."""

import os
from typing import NamedTuple

from audit.audit_dir import AUDIT_DIR, make
from audit.backend.training import BadData, LegData, LegRequest, TrainingBackend
from audit.errors import AuditError
from audit.ledger.batch_events import RETIRED
from audit.ledger.batches import Batch, Leg
from audit.ledger.timeline import Timeline
from audit.training.config import DELETE, TrainConfig
from audit.training.data_files import DataFiles, seen
from audit.training.drafting import Drafting, Work
from audit.training.held_file import HeldFiles
from audit.training.mixing import ChangedError, Source, mix
from audit.training.run_state import TrainRefused

ANY_ROW = '{"input_ids": [1, 2]}\n'
"""A row for a trainer that only restores."""


class Drafted(NamedTuple):
    """The leg to rehearse. ``most``: how many steps of it follow, 0 if none can be trained again.

    ``unjudged``: why none can; ``lacking``: that is not as it should be. ``work`` is the same for the rules of the
    scope plan.
    """

    work: Work
    leg: Leg
    most: int
    unjudged: str | None = None
    lacking: bool = False

    @property
    def request(self) -> LegRequest:
        """What is asked of the backend."""
        return self.work.request


def draft(
    config: TrainConfig, trainer: TrainingBackend, timeline: Timeline, checkpoint: str, step: int, scratch: str
) -> Drafted:
    """Draft the leg that followed on ``step``, the step of the checkpoint at this path.

    Raises AuditError if the ledger does not say what was trained there.
    """
    leg = timeline.owner(step)
    if leg is None:
        raise AuditError(
            f"{checkpoint}: the ledger does not record how it was trained, so it cannot be rehearsed; "
            "audit_hf_trainer.rehearse() does it with a trainer that you make"
        )
    follows = not leg.whole_at(step) and leg.last_step is not None
    if not follows:
        return _restored(config, checkpoint, step, leg, scratch, "nothing was trained after it", False)
    batch = timeline.batch(leg.batch)
    assert batch is not None
    try:
        work = _of_data(config, trainer, timeline, batch, leg, step, checkpoint, scratch)
    except (TrainRefused, BadData) as error:
        return _restored(config, checkpoint, step, leg, scratch, str(error), True)
    if work is None:
        gone = batch.state == RETIRED and batch.to is None and config.data.after == DELETE
        reason = (
            f'{leg.file} was deleted after it was trained (data.after = "delete")'
            if gone
            else f"{leg.file} is neither in {config.data.done} nor in {config.data.inbox} as it was trained: it was moved "
            "away, deleted or changed; put it back"
        )
        return _restored(config, checkpoint, step, leg, scratch, reason, not gone)
    return Drafted(work, leg, (leg.last_step or step) - step)


def _of_data(
    config: TrainConfig,
    trainer: TrainingBackend,
    timeline: Timeline,
    batch: Batch,
    leg: Leg,
    step: int,
    checkpoint: str,
    scratch: str,
) -> Work | None:
    """Return the work with its real data, None if a file of it is gone."""
    files, held = DataFiles(config.data), HeldFiles(config.data.inbox)
    there = [files.find(item) or held.find(item.file, item.digest) for item in batch.files]
    found = [file for file in there if file is not None]
    if len(found) < len(there):
        return None
    # The horizon of the schedule and the seed are those of the leg, whatever the configuration says now.
    drafting = Drafting(config._replace(total_steps=None, decay_steps=None), trainer, files, leg.processes, False)
    name, past = os.path.basename(checkpoint), (leg, leg.example_at(step))
    if batch.parts:
        group = tuple(drafting.source(file, item.digest) for file, item in zip(found, batch.files, strict=True))
        work = drafting.draft_group(timeline, group, step, name, past)
    else:
        work = drafting.draft(timeline, found[0], batch.digest, step, name, past)
    path = _mixed(scratch, work.sources) if work.sources else work.file.path
    data = LegData(path, leg.order, leg.epochs, leg.example_at(step), config.data.options)
    return work._replace(request=_request(config, checkpoint, step, leg, scratch, data, leg.last_step))


def _mixed(scratch: str, sources: tuple[Source, ...]) -> str:
    try:
        return mix(scratch, sources)[0].path
    except ChangedError as error:
        raise TrainRefused(f"{error}: has other bytes than when it was trained") from error


def _restored(
    config: TrainConfig,
    checkpoint: str,
    step: int,
    leg: Leg,
    scratch: str,
    reason: str,
    lacking: bool,
) -> Drafted:
    """Return a leg of one row that is not trained: the trainer is made with it, and restores."""
    path = os.path.join(make(scratch, AUDIT_DIR, "nothing can be rehearsed"), "row.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.write(ANY_ROW)
    row = seen(path, os.path.basename(path))
    assert row is not None
    # A schedule that follows an evaluation cannot be made without the file.
    evaluated = {key: value for key, value in config.data.options.items() if key == "eval"}
    request = _request(config, checkpoint, step, leg, scratch, LegData(path, options=evaluated), step + 1)
    work = Work(request, leg.batch, row, row, step, 1, 1, 1)
    return Drafted(work, leg, 0, reason, lacking)


def _request(
    config: TrainConfig, checkpoint: str, step: int, leg: Leg, scratch: str, data: LegData, last: int | None
) -> LegRequest:
    begins = step == leg.first_step and not leg.first_example
    return LegRequest(
        run=scratch,
        resume_from=checkpoint,
        first_step=step,
        last_step=last,
        data=data,
        settings=config.settings,
        seed=leg.seed,
        horizon=leg.horizon,
        decay_steps=leg.decay_steps,
        changes=leg.changes if begins else {},
    )
