"""The size of a checkpoint and its adapter, before anything is trained."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, Size, first_line
from audit_hf_trainer.training.loading import REFUSALS
from audit_hf_trainer.training.trial import empty_model

OVERHEAD = 64 << 10
"""Bytes of the small files: README, configurations, random states, training arguments, scheduler, headers, names."""
FILES = 10
STATES = (("8bit", 2), ("4bit", 1), ("sgd", 0), ("adafactor", 0.1), ("lomo", 0), ("galore", 1), ("adagrad", 4),
          ("rmsprop", 4), ("lion", 4))  # fmt: skip
"""Bytes of optimizer state per trained number by a part of the optimizer's name; 8 for AdamW and unknown ones."""


def adapter_by_peft(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what PEFT makes of the table [adapter]. Raises ConfigError."""
    import peft

    try:
        config = peft.LoraConfig(**{"task_type": "CAUSAL_LM", **table})
    except REFUSALS as error:
        raise ConfigError(f"adapter: PEFT refuses it: {first_line(error)}") from error
    return {name: _plain(value) for name, value in config.to_dict().items()}


def checkpoint_size(settings: Mapping[str, Any]) -> Size | None:
    """Estimate a checkpoint: the model is built on torch's meta device, without any values.

    None if that fails for any reason: an estimate must not prevent training. Quantized models are not estimated.
    """
    model = settings.get("model", {})
    if "quantization" in model:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            trained, saved = _counted(settings)
    except Exception:  # no network, a model of unknown code, a module that PEFT does not know there
        return None
    optimizer = str(settings.get("arguments", {}).get("optim", "adamw_torch"))
    state = next((width for part, width in STATES if re.search(part, optimizer)), 8)
    return Size(int(saved + trained * state) + OVERHEAD, FILES)


def _counted(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many numbers are trained, and how many bytes of weights are saved."""
    import torch
    import transformers

    model = settings.get("model", {})
    with torch.device("meta"):
        made = empty_model(settings, transformers)
        wanted = model.get("dtype", "auto")
        kind = getattr(made.config, "dtype", None) if wanted == "auto" else getattr(torch, wanted)
        made = made.to(kind) if isinstance(kind, torch.dtype) else made
        if settings.get("adapter") is not None:
            import peft

            lora = peft.LoraConfig(**{"task_type": "CAUSAL_LM", **settings["adapter"]})
            made = peft.get_peft_model(made, lora)
            # PEFT keeps the adapter's own numbers in float32 unless told otherwise.
            parts = [part.numel() for part in made.parameters() if part.requires_grad]
            return sum(parts), sum(parts) * 4
    parameters = list(made.parameters())  # tied ones once, as they are saved
    width = sum(part.numel() * part.element_size() for part in parameters)
    return sum(part.numel() for part in parameters if part.requires_grad), width


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)
