"""Values that the configurations of trl take as they are, and its trainers fail on: at once, or in the first step.

Sources: trl 1.16, ``sft_trainer.py`` and ``dpo_trainer.py``. A name that the source of the trainer mentions is known to
it, so that what a later release adds is not refused.
"""

import inspect
import sys
from typing import Any

from audit.plugin import ConfigError, LegRequest, did_you_mean

_NAMES = {
    "f_divergence_type": ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    "truncation_mode": ("keep_start", "keep_end"),
    "loss_type": (
        "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
        "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
    ),
}  # fmt: skip
"""Names that DPOTrainer compares with; SFTTrainer itself refuses an unknown one before it trains."""


def source_of(class_name: str) -> str:
    """Return the source of the module in trl of a trainer such as "trl.DPOTrainer", "" for another or none."""
    if not class_name.startswith(("trl.", "trl:")):
        return ""
    found = getattr(sys.modules.get("trl"), class_name[4:].rpartition(".")[2], None)
    module = sys.modules.get(getattr(found, "__module__", ""))
    try:
        return inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        return ""


def refuse_of_trl(request: LegRequest, arguments: Any) -> None:
    """Raise ConfigError, beginning with the path of the key, for a value that a trainer of trl fails on."""
    source = source_of(str(request.settings.get("trainer", {}).get("class", "")))
    if not source:
        return
    if getattr(arguments, "pad_to_multiple_of", None) == 0:
        raise ConfigError("arguments.pad_to_multiple_of: 0 is less than 1")
    length = getattr(arguments, "max_length", None)
    if length in (0, 1):  # below 0 trl cuts off so many tokens
        raise ConfigError(f"arguments.max_length: {length} is less than 2: nothing is learned")
    if hasattr(arguments, "f_divergence_type"):
        for name, known in _NAMES.items():
            _refuse_unknown(name, getattr(arguments, name), known, source)
        _refuse_numbers(arguments)


def _refuse_unknown(name: str, value: Any, known: tuple[str, ...], source: str) -> None:
    for one in value if isinstance(value, list) else [value]:
        if one not in known and (not one or f'"{one}"' not in source):
            raise ConfigError(f"arguments.{name}: {one!r} is none of {', '.join(known)}{did_you_mean(str(one), known)}")


def _refuse_numbers(arguments: Any) -> None:
    """Refuse numbers of DPO by which all losses are constant, or by which they divide by 0."""
    losses = arguments.loss_type if isinstance(arguments.loss_type, list) else [arguments.loss_type]
    if arguments.beta == 0 and "sft" not in losses:
        raise ConfigError("arguments.beta: with 0 nothing is learned: the loss does not depend on the rewards")
    if arguments.loss_weights and not any(arguments.loss_weights):
        raise ConfigError("arguments.loss_weights: all are 0, so nothing is learned")
    if "robust" in losses and arguments.label_smoothing == 0.5:
        raise ConfigError("arguments.label_smoothing: the loss robust divides by 1 - 2 x label_smoothing, which is 0")
    if "discopop" in losses and arguments.discopop_tau == 0:
        raise ConfigError("arguments.discopop_tau: the loss discopop divides by it, and it is 0")


def refuse_of_model(request: LegRequest, arguments: Any, made: Any) -> None:
    """Raise ConfigError for what a trainer of trl refuses of this model, made on torch's meta device."""
    source = source_of(str(request.settings.get("trainer", {}).get("class", "")))
    config = getattr(made, "config", None)
    if not source or config is None:
        return
    weight = getattr(arguments, "router_aux_loss_coef", None)
    if weight and "output_router_logits" in source and not hasattr(config.get_text_config(), "output_router_logits"):
        raise ConfigError("arguments.router_aux_loss_coef: is for a mixture of experts, and this model is none")
    if (
        request.settings.get("adapter") is None
        or "isinstance(model.get_output_embeddings(), BaseTunerLayer)" not in source
    ):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(made.get_output_embeddings(), BaseTunerLayer):
        raise ConfigError(
            "adapter.target_modules: the trainers of trl do not train an adapter of the output layer (lm_head); leave it out"
        )
