"""What the ledger and the state in the run's root tell of batches."""

import json
import os
import shutil

from tests.audit.batch_rows import event, finished, leg, tell
from tests.faults.table import Group
from tests.faults.tools import STATE

NEWEST, BEFORE = "checkpoint-60", "checkpoint-40"
batches = Group("Batches", "long_history", NEWEST, BEFORE)


def _nothing_trained(run: str) -> None:
    tell(run, leg("one", 0, 60), finished("one", 0, 60), leg("two", 60, 90), finished("two", 60, 60))


def _failed_later(run: str) -> None:
    tell(run, leg("one", 0, 80), event("failed", "one", step=71, kind="out-of-memory", reason="CUDA out of memory"))


def _never_saved(run: str) -> None:
    """Training went on to step 70, and only ``save_state()`` was called then."""
    with open(os.path.join(run, NEWEST, STATE), encoding="utf-8") as file:
        state = json.load(file)
    state["log_history"].append({**state["log_history"][-1], "step": 70})
    state.update(global_step=70, max_steps=70)
    with open(os.path.join(run, STATE), "w", encoding="utf-8") as file:
        json.dump(state, file, indent=2)


def _newest_deleted(run: str) -> None:
    """The ledger has seen step 60 as the end of a batch."""
    tell(run, leg("one", 0, 60), finished("one", 0, 60))
    shutil.rmtree(os.path.join(run, NEWEST))


batches.add(
    "a batch was trained without a single step", "steps/no-progress", _nothing_trained, checkpoint=None, blocks=False
)
batches.add(
    "training failed beyond the newest checkpoint",
    "steps/unsaved-tail",
    _failed_later,
    severity="warning",
    checkpoint=None,
    blocks=False,
)
batches.add(
    "the last steps were never saved; only the state in the root has them",
    "steps/unsaved-tail",
    _never_saved,
    severity="warning",
    checkpoint=None,
    blocks=False,
)
batches.add(
    "the checkpoint at the end of a finished batch was deleted",
    "steps/reset",
    _newest_deleted,
    checkpoint=None,
    blocks=False,
    resume=BEFORE,
)
