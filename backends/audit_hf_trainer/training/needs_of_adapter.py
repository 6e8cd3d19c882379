"""What is wrong with an adapter that PEFT has made: nothing of it would be learned, or not be saved.

Measured with peft 0.21 and LoRA: where every layer adds nothing, all ``lora_B`` stay zero, and no checkpoint of it is
proven, whatever else is trained beside (``bias``, ``modules_to_save``, ``use_dora``).
"""

from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest

_ATTENTION = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")


def refuse_adapted(request: LegRequest, made: Any) -> None:
    """Raise ConfigError, beginning with the path of the key; ``made`` is the model with its adapter."""
    table = request.settings["adapter"]
    _refuse_unsaved(table, made)
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in made.named_modules() if isinstance(module, LoraLayer)}
    if layers:
        _refuse_scale(table, layers)
        _refuse_dropout(table, layers)
        _refuse_dropped(request.settings.get("model", {}), made, layers)


def _refuse_unsaved(table: Mapping[str, Any], made: Any) -> None:
    """Refuse modules_to_save of which the model has none: PEFT passes over them.

    PEFT adds names of its own for tasks such as SEQ_CLS, of which one is enough.
    """
    for config in getattr(made, "peft_config", {}).values():
        wanted = sorted(getattr(config, "modules_to_save", None) or ())
        if wanted and not any(f".{name}." in f".{key}" for name in wanted for key in made.state_dict()):
            key = "modules_to_save" if table.get("modules_to_save") else "task_type"
            raise ConfigError(f"adapter.{key}: the model has no {' or '.join(wanted)}, so nothing of it would be saved")


def _refuse_scale(table: Mapping[str, Any], layers: Mapping[str, Any]) -> None:
    """Refuse a scale of 0 for all layers, and one that alpha_pattern gives to some."""
    from peft.utils.other import get_pattern_key

    still = [name for name, layer in layers.items() if not any(layer.scaling.values())]
    pattern = table.get("alpha_pattern") or {}
    for name in still:
        key = get_pattern_key(pattern.keys(), name)
        if pattern.get(key) == 0:
            raise ConfigError(
                f"adapter.alpha_pattern: with 0 for {key} the adapter adds nothing there, and nothing is learned; name it in "
                "adapter.exclude_modules instead"
            )
    if len(still) == len(layers):
        raise ConfigError("adapter.lora_alpha: with 0 the adapter adds nothing, and nothing is learned")


def _refuse_dropout(table: Mapping[str, Any], layers: Mapping[str, Any]) -> None:
    """Refuse a dropout of everything; that of embeddings PEFT takes and never applies."""
    from peft.tuners.lora import Embedding

    if table.get("lora_dropout") == 1 and not all(isinstance(layer, Embedding) for layer in layers.values()):
        raise ConfigError("adapter.lora_dropout: 1 drops everything, and nothing is learned; it is a share below 1")


def _refuse_dropped(model: Mapping[str, Any], made: Any, layers: Mapping[str, Any]) -> None:
    """Refuse a dropout of the model that leaves nothing of all that the adapter adds."""
    config = made.config.get_text_config() if hasattr(made.config, "get_text_config") else made.config
    for name in (*_ATTENTION, "resid_pdrop"):
        inside = ("attn", "attention") if name in _ATTENTION else (".h.",)  # resid_pdrop: after every part of a block
        if getattr(config, name, None) == 1 and all(any(part in layer for part in inside) for layer in layers):
            table = next((key for key in ("random", "options") if name in model.get(key, {})), None)
            key = f"model.{table}.{name}" if table else "model"
            raise ConfigError(
                f"{key}: {name} 1 drops all that the adapter adds, and nothing is learned; it is a share below 1"
            )
