"""optimizer/hyperparameters-changed."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._more import and_more
from audit_rules.optimizer._shared import place_of, tensors

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

STEADY = ("eps", "weight_decay", "initial_lr", "amsgrad", "alpha", "nesterov")
ARGUMENTS = {
    "eps": ("adam_epsilon",),
    "weight_decay": ("weight_decay",),
    "initial_lr": ("learning_rate",),
    "betas": ("adam_beta1", "adam_beta2"),
}
"""The training arguments that set them."""
CYCLED = ("betas", "momentum")
"""OneCycle and cyclic schedules move these with the learning rate."""


@rule(
    Severity.WARNING,
    remedy="If this was not intended, resume from the previous checkpoint. Changed arguments do not cause this: on a resume "
    "Trainer takes these values from the file.",
    explained_by=(
        "optimizer/parameter-mismatch",
        "optimizer/fresh",
        "optimizer/step-mismatch",
        "optimizer/unchanged",
        "deepspeed/latest",
        "deepspeed/ranks-disagree",
        "deepspeed/stale-partition",
        "deepspeed/step-mismatch",
    ),
)
def hyperparameters_changed(
    checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState", previous: Checkpoint
) -> Iterator[Violation]:
    """Betas, eps, weight decay, base rate or the type of the state differ from the previous checkpoint's.

    On a resume the values in ``optimizer.pt`` take precedence over the arguments (Trainer 5.23), so they change only if
    the optimizer was created again or the file was edited.

    What a person changed (`audit train --change`, recorded in the ledger) is no violation.

    Betas and momentum are compared only for the schedules of transformers: OneCycle moves them.
    """
    before: OptimizerState = previous.optimizer
    if len(before.groups) != len(optimizer.groups) or not optimizer.groups:
        raise NotApplicable(f"the groups differ from those of {previous.name}")
    scheduler = checkpoint.optional("scheduler")
    keys = STEADY + (CYCLED if scheduler is not None and scheduler.kind == "lambda" else ())
    changes = []
    for position, (group, old) in enumerate(zip(optimizer.groups, before.groups, strict=True)):
        changes += [
            (f"{key} of group {position}", _shown(old[key]), _shown(group[key]))
            for key in keys
            if _plain(group.get(key)) and _plain(old.get(key)) and _shown(group[key]) != _shown(old[key])
        ]
    changes = (
        [item for item in changes if not _deliberate(item[0].partition(" ")[0], checkpoint, previous)]
        if changes
        else []
    )
    mine, theirs = _type(optimizer), _type(before)
    if mine and theirs and mine != theirs:
        changes.append(("type of the moments", theirs, mine))
    if changes:
        what, was, now = changes[0]
        more = and_more(changes, ", and {} more values differ")
        yield Violation(
            f"{place_of(layout)}: {what} is {now} and was {was} in {previous.name}{more}",
            file=place_of(layout),
            expected=was,
            actual=now,
        )


def _deliberate(key: str, checkpoint: Checkpoint, previous: Checkpoint) -> bool:
    """Whether the ledger says that a person changed this between the two checkpoints."""
    changed = checkpoint.run.records.batches.changed_between
    return any(changed(name, previous.step, checkpoint.step) for name in ARGUMENTS.get(key, ()))


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_plain(item) for item in value)
    return isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 1 << 63)


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_shown(item) for item in value) + ")"
    return str(value) if isinstance(value, bool) else f"{value:g}"


def _type(optimizer: "OptimizerState") -> str | None:
    types = Counter(
        ref.dtype for _, key, ref in tensors(optimizer) if key in ("exp_avg", "exp_avg_sq", "momentum_buffer")
    )
    return types.most_common(1)[0][0] if types else None
