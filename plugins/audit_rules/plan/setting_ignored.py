"""plan/setting-ignored."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

SETTINGS = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")


@rule(
    Severity.WARNING,
    remedy="Do nothing if the old values are fine. audit train --change SETTING puts that of the configuration into effect with the "
    "next batch, with the backend hf-trainer; for another trainer start a new run from these weights.",
    explained_by=("plan/optimizer-changed",),
)
def setting_ignored(
    plan: Plan, arguments: Mapping[str, Any], resume: Checkpoint, *, tolerance: float = 1e-6
) -> Iterator[Violation]:
    """A planned setting has no effect: a resume keeps the value in the checkpoint.

    Trainer 5.23 loads the parameter groups from ``optimizer.pt`` and the base rates from ``scheduler.pt`` over those of
    the arguments. With another ``learning_rate``, ``weight_decay``, beta or ``adam_epsilon`` the weights of the resumed
    run are the same bit for bit, and ``training_args.bin`` records the value that was not used.

    `audit train --change` puts new values into optimizer and schedule before the first step of a batch; those are no
    violation. Only settings that the configuration names are compared. Groups without weight decay (biases, norms) are
    normal. A command may build its own optimizer: with one, a setting is compared only if it differs from the
    checkpoint's arguments. ``tolerance`` is relative.
    """
    named = plan.request.settings.get("arguments", arguments)
    before = resume.optional("arguments") or {}
    told, judged = [], False
    for setting in SETTINGS:
        planned = arguments.get(setting) if setting in named and setting not in plan.request.changes else None
        if not _is_number(planned) or not (kept := _kept(setting, resume)):
            continue
        judged = True
        if any(not _apart(planned, value, tolerance) for value in kept):
            continue
        was = before.get(setting)
        if plan.owned or (_is_number(was) and _apart(planned, was, tolerance)):
            told.append((setting, planned, kept[0]))
    if told:
        setting, planned, value = told[0]
        word = "; --change puts the planned ones into effect" if plan.owned else ""
        yield Violation(
            f"{'; '.join(f'{name} is planned as {new:g}, kept is {old:g}' for name, new, old in told)}: a resume continues with the "
            f"values in {resume.name}{word}",
            expected=value,
            actual=planned,
        )
    if not judged:
        raise NotApplicable("the configuration names no setting that the optimizer or the schedule keeps")


def _kept(setting: str, resume: Checkpoint) -> list[float]:
    """The values of a setting in the checkpoint, of each group that has one; empty if it keeps none."""
    optimizer: OptimizerState | None = resume.optional("optimizer")
    groups = optimizer.groups if optimizer is not None else []
    if setting == "learning_rate":
        scheduler = resume.optional("scheduler")
        rates = (scheduler.base_lrs if scheduler is not None else None) or [group.get("initial_lr") for group in groups]
        return [rate for rate in rates if _is_number(rate)]
    if setting == "weight_decay":
        decays = [group["weight_decay"] for group in groups if _is_number(group.get("weight_decay"))]
        return [decay for decay in decays if decay] or decays
    if setting == "adam_epsilon":
        return [group["eps"] for group in groups if "betas" in group and _is_number(group.get("eps"))]
    place = int(setting.endswith("2"))
    betas = [group.get("betas") for group in groups]
    return [
        beta[place]
        for beta in betas
        if isinstance(beta, tuple | list) and len(beta) > place and _is_number(beta[place])
    ]


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _apart(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) > tolerance * max(abs(one), abs(other))
