"""Load what the tables [model] and [adapter] describe: the tokenizer, the model, its adapter."""

import os
import re
from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest, did_you_mean, first_line
from audit_hf_trainer.settings import TINY_MODEL
from audit_hf_trainer.training.needs_of_adapter import refuse_adapted

REFUSALS = (AttributeError, TypeError, ValueError, LookupError, ImportError, re.error)
"""What PEFT raises for a table: of a task that the model is not made for, of layers or a package that are not there."""


def tokenizer_of(model: Mapping[str, Any], transformers: Any) -> Any:
    """Return the tokenizer, None for a model with random weights or without one. Raises ConfigError."""
    path = model.get("tokenizer", model.get("name_or_path"))
    if path is None:
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=model.get("trust_remote_code", False))
    except (OSError, ValueError) as error:
        if "tokenizer" not in model:
            return None  # rows of input_ids need none; others report it
        raise ConfigError(f"model.tokenizer: cannot be loaded: {first_line(error)}") from error


def limits(model: Mapping[str, Any], transformers: Any) -> tuple[int | None, int | None]:
    """Return the size of the vocabulary and the maximum length of a row."""
    if "random" in model:
        shape = {**TINY_MODEL, **model["random"]}
        return int(shape["vocab_size"]), int(shape["max_position_embeddings"])
    try:
        config = transformers.AutoConfig.from_pretrained(
            model["name_or_path"], trust_remote_code=model.get("trust_remote_code", False)
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.name_or_path: cannot be loaded: {_why(model['name_or_path'], error)}") from error
    text = config.get_text_config()
    sizes = (getattr(text, name, None) for name in ("vocab_size", "max_position_embeddings"))
    vocabulary, positions = (size if isinstance(size, int) else None for size in sizes)
    return vocabulary, positions


def _why(path: str, error: Exception) -> str:
    """Why a model cannot be loaded: the Hub's client takes a path that is not there for a name, and complains of it."""
    if os.path.isabs(path) and not os.path.isdir(path):
        home, name = os.path.split(path.rstrip("/"))
        near = did_you_mean(name, os.listdir(home)) if os.path.isdir(home) else ""
        return f"there is no directory {path}{near}"
    said = first_line(error)
    return said if os.path.isdir(path) else f"{said} ({path} is no directory beside the configuration either)"


def model_of(request: LegRequest, transformers: Any, kind: Any = None) -> Any:
    """Load the model, or create one with random weights: the same for every leg of one seed.

    ``kind``: a class with ``from_pretrained`` instead of ``AutoModelForCausalLM``.
    """
    fields = dict(request.settings.get("model", {}))
    path = fields.pop("name_or_path", None)
    fields.pop("tokenizer", None)
    fields.pop("class", None)
    transformers.set_seed(request.seed)
    try:
        if path is not None:
            fields.update(fields.pop("options", {}))
            if "quantization" in fields:
                fields["quantization_config"] = transformers.BitsAndBytesConfig(**fields.pop("quantization"))
            return (kind or transformers.AutoModelForCausalLM).from_pretrained(path, **fields)
        config = transformers.LlamaConfig(**{**TINY_MODEL, **fields["random"]})
        return transformers.LlamaForCausalLM(config)
    except (OSError, TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"model: cannot be built: {first_line(error)}") from error


def adapted(request: LegRequest, model: Any, peft: Any) -> Any:
    """Return the model with the planned adapter. Raises ConfigError."""
    fields = {"task_type": "CAUSAL_LM", **request.settings["adapter"]}
    try:
        made = peft.get_peft_model(model, peft.LoraConfig(**fields))
    except REFUSALS as error:
        raise ConfigError(f"adapter: PEFT refuses it: {first_line(error)}") from error
    refuse_adapted(request, made)
    return made
