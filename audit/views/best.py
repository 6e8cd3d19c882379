"""The best checkpoint by a logged metric, among those that are still there."""

from math import isfinite
from typing import Any, NamedTuple

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.series import Point, evaluated, series
from audit.judging.standing import BROKEN
from audit.text import did_you_mean
from audit.views.inspection import Inspection

MIN, MAX = "min", "max"
_LOWER = (
    "loss",
    "error",
    "perplexity",
    "ppl",
    "wer",
    "cer",
    "ter",
    "mse",
    "rmse",
    "mae",
    "mape",
    "nll",
    "runtime",
    "bpb",
)
_HIGHER = (
    "accuracy", "acc", "f1", "precision", "recall", "auc", "auroc", "bleu", "sacrebleu", "chrf", "meteor", "rouge",
    "rouge1", "rouge2", "rougel", "rougelsum", "exact_match", "em", "mcc", "matthews_correlation", "pearson",
    "spearman", "r2", "iou", "map", "ndcg", "reward", "rewards", "pass@1", "accuracies", "margins",
    "samples_per_second", "steps_per_second",
)  # fmt: skip
"""Last parts of names whose direction nobody doubts."""


class Candidate(NamedTuple):
    """A checkpoint and the metric's value; ``at`` is the step it was measured at."""

    checkpoint: str
    step: int
    value: float
    at: int


class Choice(NamedTuple):
    """``best`` is None if no checkpoint has a value; ``notes`` say what was assumed and what was passed over.

    ``candidates`` are in the order of their steps. ``mode`` is "min" or "max".
    """

    metric: str
    mode: str
    best: Candidate | None
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def choose(found: Inspection, metric: str | None = None, mode: str | None = None, until: int | None = None) -> Choice:
    """Choose among the complete checkpoints whose weights can be read; of equal values the earliest, as Trainer does.

    Only values on the held-out file of the newest leg count, as far as the ledger knows it; with ``until`` only
    checkpoints up to this step.
    Without ``metric``, the one of ``metric_for_best_model``, else ``eval_loss``. Raises AuditError if nothing of
    that name is logged, and if nothing tells which direction is better.
    """
    arguments = found.run.optional("arguments") or {}
    notes: list[str] = []
    name = _metric(found, metric, arguments)
    if metric is not None and name != metric:
        notes.append(f"{metric} is logged as {name}")
    direction = mode or _mode(name, arguments, notes)
    candidates = tuple(_candidates(found, name, notes, until))
    sign = 1 if direction == MIN else -1
    best = min(candidates, key=lambda item: (sign * item.value, item.step), default=None)
    if best is not None:
        notes += _doubts(found, name, best, sign)
    return Choice(name, direction, best, candidates, tuple(notes))


def _metric(found: Inspection, metric: str | None, arguments: Any) -> str:
    logged = frozenset[str]().union(
        *(history.keys for item in found.run.judged if (history := item.optional("history")) is not None)
    )
    wanted = metric or evaluated(arguments.get("metric_for_best_model")) or "eval_loss"
    if wanted in logged:
        return wanted
    if f"eval_{wanted}" in logged:
        return f"eval_{wanted}"
    names = sorted(key for key in logged if key not in ("step", "epoch") and any(_values(found, key)))
    known = ", ".join(names[:30]) + (" and more" if len(names) > 30 else "") if names else "nothing"
    hint = did_you_mean(wanted, names) if metric is not None else "; name one of them with --metric" if names else ""
    raise AuditError(f"{found.run.path}: no checkpoint's log has {wanted}; logged are: {known}{hint}")


def _values(found: Inspection, key: str) -> Any:
    return (series(history, key) for item in found.run.judged if (history := item.optional("history")) is not None)


def _mode(name: str, arguments: Any, notes: list[str]) -> str:
    greater = arguments.get("greater_is_better")
    if isinstance(greater, bool) and evaluated(arguments.get("metric_for_best_model")) == name:
        notes.append(f"{'higher' if greater else 'lower'} {name} is better: greater_is_better of the run says so")
        return MAX if greater else MIN
    last = name.lower().rpartition("/")[2]
    for mode, known, word in ((MIN, _LOWER, "lower"), (MAX, _HIGHER, "higher")):
        if any(last == text or last.endswith(f"_{text}") for text in known):
            notes.append(f"{word} {name} is better: guessed from its name; --mode says otherwise")
            return mode
    raise AuditError(
        f"nothing tells whether a higher or a lower {name} is better; say it with --mode max or --mode min"
    )


def _candidates(found: Inspection, name: str, notes: list[str], until: int | None) -> list[Candidate]:
    """The checkpoints with a value that was measured at their own step; where none has one, with the last before it."""
    exact: list[Candidate] = []
    before: list[Candidate] = []
    for checkpoint in found.run.judged:
        if until is not None and checkpoint.step > until:
            continue
        if why := _unfit(found, checkpoint):
            notes.append(f"passed over {checkpoint.name}: {why}")
            continue
        history = checkpoint.optional("history")
        points = [] if history is None else [point for point in series(history, name) if point.step <= checkpoint.step]
        if not points:
            notes.append(f"passed over {checkpoint.name}: {name} is not logged up to it")
            continue
        last = max(points, key=lambda point: point.step)._replace(value=_latest(points))
        if not isfinite(last.value):
            notes.append(f"passed over {checkpoint.name}: {name} is {last.value}")
            continue
        if not found.run.records.batches.is_comparable(last.step, until):
            notes.append(f"passed over {checkpoint.name}: its {name} is of another held-out file than the newest one")
            continue
        candidate = Candidate(checkpoint.name, checkpoint.step, last.value, last.step)
        (exact if last.step == checkpoint.step else before).append(candidate)
    if exact:
        notes += [f"passed over {item.checkpoint}: {name} was last measured at step {item.at}" for item in before]
        return exact
    if before:
        notes.append(f"{name} was measured at no checkpoint's own step; the last value before each is used")
    return before


def _latest(points: list[Point]) -> float:
    """The value of the highest step; of several, the one that was logged last."""
    step = max(point.step for point in points)
    return [point.value for point in points if point.step == step][-1]


def _unfit(found: Inspection, checkpoint: Checkpoint) -> str:
    """Why a checkpoint's weights are of no use, or nothing; what only a resume needs does not matter here."""
    if not checkpoint.complete:
        return found.standings[checkpoint.name].state
    layout = checkpoint.layout
    if any(role.partition(":")[0] in ("weights", "adapter_config") for role in layout.missing):
        return "its weights are not all there"
    weights = {*layout.weights, layout.shard_index, *layout.sharded_weights}
    weights.update(name for adapter in layout.adapters for name in (adapter.weights, adapter.config))
    for item in found.report.findings:
        if item.blocks_resume and item.checkpoint == checkpoint.name and item.file in weights and item.file:
            return f"{item.message} ({item.rule})"
    return ""


def _doubts(found: Inspection, name: str, best: Candidate, sign: int) -> list[str]:
    notes = []
    logged = (point for points in _values(found, name) for point in points if isfinite(point.value))
    everything = [point for point in logged if found.run.records.batches.is_comparable(point.step)]
    top = min(everything, key=lambda point: (sign * point.value, point.step))
    if sign * top.value < sign * best.value:
        notes.append(f"the best {name} that was logged, {top.value:.6g} at step {top.step}, has no checkpoint here")
    standing = found.standings[best.checkpoint]
    if standing.state == BROKEN:
        notes.append(f"{best.checkpoint} cannot be resumed from ({standing.reason}); its weights can be read")
    return notes
