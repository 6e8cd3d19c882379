"""rotation/best-wrong."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, metric_key, rule

_SAME = 1e-9


@rule(
    Severity.WARNING,
    remedy="Do not ship the best model of this run unchecked: choose by the logged evaluations (`audit best`), and set "
    "greater_is_better.",
)
def best_wrong(checkpoint: Checkpoint) -> Iterator[Violation]:
    """The recorded best metric is not the best of the logged evaluations.

    Trainer keeps and loads the model of ``best_metric``. If it is maximised although smaller is better (the default of
    transformers 4.x for ``eval_x_loss``), was edited, or is of another metric than the arguments name, the wrong model
    is kept, rotation deletes the right one, and nothing better is ever saved as best.

    Transformers from 4.50 (``best_global_step`` is in the state) considers every evaluation after step 0. Older
    versions considered only those at a save, so only steps whose checkpoints are still there are compared. A best step
    that was never saved is legitimate. With `guard.best` of `audit train` the ledger records what was the best as each
    leg began: only evaluations since then can be better. Reported only for the first checkpoint that shows it.
    """
    fault = _fault(checkpoint)
    if fault is None:
        return
    previous = checkpoint.optional("previous")
    if previous is not None and _excused(previous) is not None:
        raise NotApplicable(f"as in {previous.name}")
    message, expected, actual = fault
    yield Violation(message, file=checkpoint.backend.state_file, expected=expected, actual=actual)


class _Aim(NamedTuple):
    """What the arguments ask for: the key in the log, and whether more is better."""

    key: str
    greater: bool


def _excused(checkpoint: Checkpoint) -> tuple[str, Any, Any] | None:
    try:
        return _fault(checkpoint)
    except NotApplicable:
        return None


def _fault(checkpoint: Checkpoint) -> tuple[str, Any, Any] | None:
    """Return (message, expected, actual), or None if the best metric is right."""
    state = checkpoint.state
    if state.best_metric is None:
        raise NotApplicable("no best metric is recorded")
    aim = _aim(checkpoint)
    found = [
        (entry["step"], entry[aim.key])
        for entry in checkpoint.history
        if isinstance(entry.get(aim.key), int | float) and isinstance(entry.get("step"), int) and entry["step"] > 0
    ]
    if not found:
        raise NotApplicable(f"no evaluation with {aim.key} is logged")
    if aim.greater and aim.key.endswith("loss"):
        return f"{aim.key} is maximised: greater_is_better is true for a loss", "greater_is_better=false", "true"
    best = state.best_metric
    if not any(_same(value, best) for _, value in found):
        return f"the best metric {best:.6g} is the {aim.key} of no logged evaluation", None, best
    there = [value for step, value in found if step == state.best_global_step]
    if there and not any(_same(value, best) for value in there):
        message = (
            f"the best metric {best:.6g} is not the {aim.key} of its step {state.best_global_step}: {there[-1]:.6g}"
        )
        return message, there[-1], best
    if "best_global_step" not in checkpoint.state_document.document:
        found = [(step, value) for step, value in found if step in checkpoint.run.steps]
    sign = 1 if aim.greater else -1
    better = [(step, value) for step, value in found if sign * (value - best) > _SAME * abs(best)]
    if better:  # only now, as an outcome that rests on the run is not remembered
        counting = _comparable(checkpoint, found)
        better = [item for item in better if item in counting]
    if better:
        step, value = max(better, key=lambda pair: sign * pair[1])
        return f"step {step} gave {aim.key} {value:.6g}, better than the recorded best {best:.6g}", value, best
    return None


def _comparable(checkpoint: Checkpoint, found: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the evaluations that count: what `audit train` knew to be the best as the leg began, and those since.

    What came before may be of another held-out file, or its checkpoint is gone.
    """
    leg = checkpoint.run.records.batches.owner(checkpoint.step - 1)
    if leg is None or leg.held_out is None:
        return list(found)
    known = [leg.best] if leg.best is not None else []
    return known + [(step, value) for step, value in found if step > leg.first_step]


def _aim(checkpoint: Checkpoint) -> _Aim:
    key = metric_key(checkpoint.arguments.get("metric_for_best_model"))
    greater = checkpoint.arguments.get("greater_is_better")
    if key is None or not isinstance(greater, bool):
        raise NotApplicable("metric_for_best_model and greater_is_better are not set")
    return _Aim(key, greater)


def _same(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= _SAME * abs(other)
