"""Build what a leg would be trained with, as far as that needs neither weights nor a device."""

import copy
import os
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from audit.plugin import ConfigError, LegRequest, first_line
from audit_hf_trainer.settings import TINY_MODEL
from audit_hf_trainer.training.leg import libraries, quiet, training_arguments
from audit_hf_trainer.training.loading import adapted, limits, tokenizer_of
from audit_hf_trainer.training.needs import refuse_unmet, refuse_without_kernels
from audit_hf_trainer.training.needs_of_optimizer import refuse_not_finite, refuse_optimizer
from audit_hf_trainer.training.needs_of_trl import refuse_of_model
from audit_hf_trainer.training.options import refuse_blamed, refuse_unloadable, refuse_unrunnable
from audit_hf_trainer.training.own import named
from audit_hf_trainer.training.renamed import refuse_planned

WEIGHTS = (".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json", ".gguf")


def tried(request: LegRequest) -> str | None:
    """Return what could not be tried, and why; None if all that can be built was built.

    Built are the training arguments, the optimizer over one number and its schedule, the tokenizer, the model on
    torch's meta device and the adapter in it. Raises ConfigError, beginning with the path of the key, for what the
    libraries refuse, and for a whole model that a resume would not load again.
    """
    with libraries() as (torch, transformers, peft), quiet(transformers), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = training_arguments(request, torch, transformers)
        refuse_unmet(request, arguments, transformers)
        vanishes = refuse_optimizer(arguments, torch, transformers)
        model, own = request.settings.get("model", {}), request.settings.get("trainer", {})
        tokenizer_of(model, transformers)
        limits(model, transformers)
        _weights(model)
        config = None if "random" in model else _config(model, transformers)
        if config is not None:
            _quantizer(model, config, transformers)
        try:
            with torch.device("meta"):
                made = empty_model(request.settings, transformers, config)
        except ConfigError:
            raise
        except Exception as error:  # code of a model that does not know the meta device says nothing of the training
            with torch.device("meta"):
                refuse_blamed(request.settings, error, lambda less: empty_model(less, transformers))
            return f"the model was not built: {type(error).__name__}: {first_line(error, '')}"
        refuse_unloadable(request.settings, made, transformers)
        with torch.device("meta"):
            refuse_unrunnable(request.settings, made, torch, lambda less: empty_model(less, transformers))
        if request.settings.get("adapter") is not None:
            with torch.device("meta"):
                made = adapted(request, made, peft)
        refuse_of_model(request, arguments, made)
        note = refuse_not_finite(request, arguments, made) if vanishes and "factory" not in own else None
        if request.settings.get("adapter") is not None:
            return note
        return note or refuse_planned(request, made, arguments)


def empty_model(settings: Mapping[str, Any], transformers: Any, config: Any = None) -> Any:
    """Return the model of the table [model] with the values that the current device gives it.

    ``config`` is the model's configuration, if that was read before.
    A class of the user's own, of which only ``from_pretrained`` is known, is taken for a causal language model.
    """
    model = settings.get("model", {})
    if "random" in model:
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**TINY_MODEL, **model["random"]}))
    trust = model.get("trust_remote_code", False)
    config = config or _config(model, transformers)
    key, attention = "model.attn_implementation", {}
    for place, table in (("model", model), ("model.options", model.get("options", {}))):  # the options come last
        if "attn_implementation" in table:
            key, attention = f"{place}.attn_implementation", {"attn_implementation": table["attn_implementation"]}
    if "/" in str(attention.get("attn_implementation", "")):  # a kernel of the Hub, which nobody loads for a plan
        refuse_without_kernels(key, transformers)
        attention = {}
    kind = transformers.AutoModelForCausalLM
    if "class" in model:
        kind = named(model["class"], "model.class", settings)
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
            return _built(lambda **more: kind._from_config(copy.deepcopy(config), **more), attention, key)  # noqa: SLF001
        if not hasattr(kind, "from_config"):
            kind = transformers.AutoModelForCausalLM
    return _built(
        lambda **more: kind.from_config(copy.deepcopy(config), trust_remote_code=trust, **more), attention, key
    )


def _config(model: Mapping[str, Any], transformers: Any) -> Any:
    """Return the model's configuration. Raises ConfigError for one that is not there, such as that of a GGUF file.

    How its files say that it is quantized stays there, whatever the options want: what is built is not quantized.
    """
    fields = {
        "revision": model.get("revision", "main"),
        "trust_remote_code": model.get("trust_remote_code", False),
        **model.get("options", {}),  # from_pretrained gives those of the configuration to it, too
    }
    for name in ("attn_implementation", "quantization_config"):
        fields.pop(name, None)
    for name in ("dtype", "torch_dtype"):
        if fields.get(name) == "auto":  # as AutoModel does: it is for the weights
            del fields[name]
    try:
        return transformers.AutoConfig.from_pretrained(model["name_or_path"], **fields)
    except Exception as error:  # also classes of errors of the Hub's client, for a value that a field does not take
        raise ConfigError(f"model: cannot be built: {first_line(error, type(error).__name__)}") from error


def _built(make: Callable[..., Any], attention: Mapping[str, Any], key: str) -> Any:
    """Return the model with this attention. Raises ConfigError if it can be made, and only without it.

    ``make`` takes a copy of the configuration each time: transformers notes the attention there before it looks.
    """
    try:
        return make(**attention)
    except (ImportError, ValueError) as error:
        if not attention:
            raise
        make()
        raise ConfigError(f"{key}: {first_line(error)} Install what it needs, or use sdpa or eager") from error


def _quantizer(model: Mapping[str, Any], config: Any, transformers: Any) -> None:
    """Refuse a quantized model whose library is not installed; the model on the meta device is not quantized."""
    given = model.get("options", {}).get("quantization_config")
    if isinstance(given, Mapping):
        _refuse_method(given)
    try:
        asked = getattr(import_module("transformers.quantizers.auto"), "get_hf_quantizer", None)
        if asked is not None:
            bits = model.get("quantization")
            wanted = given if bits is None else transformers.BitsAndBytesConfig(**bits)
            asked(copy.deepcopy(config), wanted, None, True, {})  # a copy: what is wanted is noted there
    except ImportError as error:
        raise ConfigError(f"model: cannot be built: {first_line(error)}") from error
    except Exception:  # what it says of devices and weights it says of those that are not there
        return


def _refuse_method(given: Mapping[str, Any]) -> None:
    """Refuse a table of a quantization whose method is unknown or not named, as AutoQuantizationConfig does."""
    known = getattr(import_module("transformers.quantizers.auto"), "AUTO_QUANTIZATION_CONFIG_MAPPING", None)
    if known is None or given.get("load_in_8bit") or given.get("load_in_4bit"):
        return
    method = given.get("quant_method")
    if method not in known:
        said = "has no quant_method" if method is None else f"{method!r} is no quant_method"
        raise ConfigError(f"model.options.quantization_config: {said}; there are {', '.join(sorted(known))}")


def _weights(model: Mapping[str, Any]) -> None:
    """Refuse a directory without weights: the configuration alone can be read."""
    place = os.path.join(str(model.get("name_or_path", "")), str(model.get("options", {}).get("subfolder", "")))
    if "random" not in model and os.path.isdir(place) and not any(name.endswith(WEIGHTS) for name in os.listdir(place)):
        raise ConfigError(f"model.name_or_path: {place} has no file of weights")
