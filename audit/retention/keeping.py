"""Which checkpoints stay: the newest proven ones, what is newer than these, and the best."""

from collections.abc import Sequence
from typing import NamedTuple

from audit.backend.names import name_of
from audit.errors import RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.run import Run
from audit.facts.series import series


class Kept(NamedTuple):
    """A checkpoint that stays, and why."""

    checkpoint: str
    reason: str


class Choice(NamedTuple):
    """What stays and what goes, both by step."""

    kept: tuple[Kept, ...]
    removed: tuple[Checkpoint, ...]


def choose(run: Run, proven: Sequence[Checkpoint], keep: int, keep_best: bool = False) -> Choice:
    """Choose what goes: older than the ``keep``-th newest of the ``proven``, and not the best.

    Raises RefusedError: a checkpoint is being written or rotated away, or several histories lie side by side, so that
    "older" has no meaning; ValueError for ``keep`` below 1.
    """
    if keep < 1:
        raise ValueError("at least one checkpoint is kept")
    for checkpoint in run.checkpoints:
        found = checkpoint.optional("completeness")
        if found is not None and found.state.moving:
            doing = (
                "is being written" if found.state is CheckpointState.IN_PROGRESS else "is being deleted by its trainer"
            )
            raise RefusedError(f"{run.path}: {checkpoint.name} {doing} right now; nothing is removed")
    if len(run.lineages) > 1:
        raise RefusedError(
            f"{run.path}: {len(run.lineages)} histories lie side by side, so nothing says which checkpoints are the old "
            f"ones; nothing is removed. See audit verify {run.path}, and audit quarantine"
        )
    newest = sorted(proven, key=lambda item: item.step)[-keep:]
    best = _best(run, newest, keep_best and bool(newest))
    kept, removed = [], []
    for checkpoint in run.checkpoints:
        if checkpoint in newest:
            kept.append(Kept(checkpoint.name, "proven"))
        elif checkpoint.name in best:
            kept.append(Kept(checkpoint.name, best[checkpoint.name]))
        elif len(newest) < keep:
            reason = f"only {len(newest)} of the {keep} to keep {'is' if len(newest) == 1 else 'are'} proven"
            kept.append(Kept(checkpoint.name, reason))
        elif checkpoint.step > newest[0].step:
            kept.append(Kept(checkpoint.name, "not proven, but newer than one that is kept"))
        elif checkpoint.name in run.unlistable:
            kept.append(Kept(checkpoint.name, "cannot be listed"))
        else:
            removed.append(checkpoint)
    return Choice(tuple(kept), tuple(removed))


def _best(run: Run, newest: Sequence[Checkpoint], by_metric: bool) -> dict[str, str]:
    """Return the names of the best checkpoints, each with what says so.

    Every state that stays is asked: a resume from it brings back what it recorded.
    """
    first = newest[0].step if newest else 0
    found: dict[str, str] = {}
    for checkpoint in run.checkpoints:
        state = checkpoint.optional("state")
        if state is None or checkpoint.step < first:
            continue
        name = (state.best_model_checkpoint or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
        found[name] = f"the best according to {checkpoint.name}"
        if state.best_global_step:
            found.setdefault(name_of(state.best_global_step), f"the best step according to {checkpoint.name}")
    if by_metric and (logged := _best_logged(run, newest[-1])) is not None:
        found.setdefault(*logged)
    return found


def _best_logged(run: Run, newest: Checkpoint) -> tuple[str, str] | None:
    """The checkpoint with the best value of ``metric_for_best_model`` (else the evaluation's loss) at its own step."""
    arguments = newest.optional("arguments") or {}
    metric = arguments.get("metric_for_best_model")
    key = metric if isinstance(metric, str) and metric else "loss"
    key = key if key.startswith("eval_") else f"eval_{key}"
    greater = arguments.get("greater_is_better")
    if not isinstance(greater, bool):
        greater = not key.endswith("loss")  # as TrainingArguments does
    values = {point.step: point.value for point in series(newest.history, key) if point.value == point.value}
    there = [item for item in run.checkpoints if item.step in values]
    if not there:
        return None
    best = (max if greater else min)(there, key=lambda item: values[item.step])
    return best.name, f"the best {key}, {values[best.step]:g}"
