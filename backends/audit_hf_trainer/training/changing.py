"""A Trainer that resumes with other settings than those in the checkpoint (``audit train --change``).

Trainer 5.24 loads the parameter groups and the base rates from ``optimizer.pt`` and ``scheduler.pt`` over those of the
arguments (``Trainer._load_optimizer_and_scheduler``). What is changed is written over them after that and before the
first step: as if the checkpoint had been saved with it. The schedule goes on where it was, scaled.
"""

from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError


def changing(trainer: Any, changes: Mapping[str, float]) -> Any:
    """Return the class ``trainer``, or one that puts ``changes`` into effect when it resumes."""
    if not changes:
        return trainer

    class ChangingTrainer(trainer):
        """Resumes with other settings."""

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            if self.is_deepspeed_enabled:
                raise ConfigError(
                    "--change: DeepSpeed loads its optimizer by itself, so no setting of it can be changed"
                )
            fresh = [dict(group, params=None) for group in self.optimizer.param_groups]
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None:
                put(self.optimizer, self.lr_scheduler, fresh, changes)

    return ChangingTrainer


def put(optimizer: Any, scheduler: Any, fresh: list[dict[str, Any]], changes: Mapping[str, float]) -> None:
    """Write changed settings into an optimizer and its schedule; ``fresh`` are the groups before a state was loaded.

    Raises ConfigError for what they do not have.
    """
    groups = optimizer.param_groups
    if "weight_decay" in changes:
        decays = [
            bool(group.get("weight_decay") or new.get("weight_decay")) for group, new in zip(groups, fresh, strict=True)
        ]
        if not any(decays) and changes["weight_decay"]:
            raise ConfigError(
                "--change weight_decay: it is not known which parameters decay; set arguments.weight_decay"
            )
        for group, decay in zip(groups, decays, strict=True):
            group["weight_decay"] = changes["weight_decay"] if decay else 0.0
    if "adam_beta1" in changes or "adam_beta2" in changes:
        for group in _with("betas", groups):
            first, second = group["betas"]
            group["betas"] = (changes.get("adam_beta1", first), changes.get("adam_beta2", second))
    if "adam_epsilon" in changes:
        for group in _with("eps", groups):
            group["eps"] = changes["adam_epsilon"]
    if "learning_rate" in changes:
        _put_rate(groups, scheduler, changes["learning_rate"])


def _put_rate(groups: list[dict[str, Any]], scheduler: Any, rate: float) -> None:
    """Scale the base rates so that the first one is ``rate``, and the current ones by the schedule's own formula."""
    curves = getattr(scheduler, "lr_lambdas", None)
    if curves is None:
        raise ConfigError(f"--change learning_rate: a {type(scheduler).__name__} sets the rate by itself")
    old = list(scheduler.base_lrs)
    scheduler.base_lrs = [rate if base == old[0] else base * rate / old[0] for base in old]
    scheduler._last_lr = [  # noqa: SLF001  what get_last_lr returns, and what is saved
        base * curve(scheduler.last_epoch) for base, curve in zip(scheduler.base_lrs, curves, strict=True)
    ]
    for group, base, now in zip(groups, scheduler.base_lrs, scheduler.get_last_lr(), strict=True):
        group["initial_lr"] = base
        if hasattr(group["lr"], "fill_"):  # a tensor, which a compiled step refers to
            group["lr"].fill_(now)
        else:
            group["lr"] = now


def _with(key: str, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [group for group in groups if key in group]
    if not found:
        raise ConfigError(f"--change: the optimizer has no {key}")
    return found
