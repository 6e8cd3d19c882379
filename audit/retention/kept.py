"""Which checkpoints prune keeps, and why.

The newest N proven ones stay, everything newer than the oldest of them, and the best. What is older is removed, proven
or not.
"""

from collections.abc import Sequence
from typing import NamedTuple

from audit.backend.names import name_of
from audit.errors import RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.run import Run
from audit.facts.series import evaluated, series


class Kept(NamedTuple):
    """A checkpoint that stays, and why."""

    checkpoint: str
    reason: str


class Choice(NamedTuple):
    """What stays and what is removed, both by step."""

    kept: tuple[Kept, ...]
    removed: tuple[Checkpoint, ...]
    notes: tuple[str, ...] = ()


def choose(run: Run, proven: Sequence[Checkpoint], keep: int, keep_best: bool = False) -> Choice:
    """Choose what to remove: older than the ``keep``-th newest of the ``proven``, and not the best.

    Raises RefusedError if a checkpoint is being written or rotated away, if several histories are mixed, so that
    "older" has no meaning, or if ``keep_best`` is asked of a trainer that keeps no log; ValueError for ``keep`` below
    1.
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
            f"{run.path}: {len(run.lineages)} histories are mixed here, so it is not known which checkpoints are "
            f"old; nothing is removed. See audit verify {run.path}, and audit quarantine"
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
            kept.append(Kept(checkpoint.name, f"not judged; {reason}" if checkpoint.optional("unread") else reason))
        elif checkpoint.step > newest[0].step:
            kept.append(Kept(checkpoint.name, "not proven, but newer than one that is kept"))
        elif checkpoint.name in run.unlistable:
            kept.append(Kept(checkpoint.name, "cannot be listed"))
        else:
            removed.append(checkpoint)
    notes: tuple[str, ...] = ()
    if removed and keep_best and not best:
        if newest[-1].optional("history") is None:
            raise RefusedError(
                f"{run.path}: which checkpoint is the best is not known, as {newest[-1].name} has no log; nothing is "
                "removed. Leave --keep-best out, and choose N so that the best is kept"
            )
        notes = (f"no best checkpoint is known: {_metric(newest[-1])[0]} was logged at none that is there",)
    return Choice(tuple(kept), tuple(removed), notes)


def _best(run: Run, newest: Sequence[Checkpoint], by_metric: bool) -> dict[str, str]:
    """Return the names of the best checkpoints, each with the reason.

    Every state that stays counts: a resume from it brings back what it recorded.
    """
    first = newest[0].step if newest else 0
    found: dict[str, str] = {}
    for checkpoint in run.checkpoints:
        state = checkpoint.optional("state")
        if state is None or checkpoint.step < first:
            continue
        if checkpoint.best_recorded is not None:
            found[checkpoint.best_recorded] = f"the best according to {checkpoint.name}"
        if state.best_global_step:
            found.setdefault(name_of(state.best_global_step), f"the best step according to {checkpoint.name}")
    if by_metric and (logged := _best_logged(run, newest[-1])) is not None:
        found.setdefault(*logged)
    return found


def _best_logged(run: Run, newest: Checkpoint) -> tuple[str, str] | None:
    """The checkpoint with the best value of ``metric_for_best_model`` (else the evaluation's loss) at its own step.

    As for ``audit best``, a value on another held-out file than the newest one is not compared.
    """
    key, greater = _metric(newest)
    values = {
        point.step: point.value for point in series(newest.optional("history") or (), key) if point.value == point.value
    }
    comparable = run.records.batches.is_comparable
    there = [item for item in run.checkpoints if item.step in values and comparable(item.step)]
    if not there:
        return None
    best = (max if greater else min)(there, key=lambda item: values[item.step])
    return best.name, f"the best {key}, {values[best.step]:g}"


def _metric(newest: Checkpoint) -> tuple[str, bool]:
    """The metric that tells which checkpoint is best, and whether more of it is better."""
    arguments = newest.optional("arguments") or {}
    key = evaluated(arguments.get("metric_for_best_model")) or "eval_loss"
    greater = arguments.get("greater_is_better")
    return key, greater if isinstance(greater, bool) else not key.endswith("loss")  # as TrainingArguments does
