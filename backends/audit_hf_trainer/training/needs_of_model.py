"""What the tables [model] and [adapter] need on this machine, as far as it is known before weights are loaded.

Sources: transformers 5.24, ``modeling_utils.py`` and ``integrations/accelerate.py`` (device_map); torch 2.13,
``nn/attention/flex_attention.py``, which has no backward pass on a CPU; peft 0.21.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest
from audit_hf_trainer.training.loading import limits

_OBJECTS = ("generation_config", "state_dict")
"""Options that take an object of Python."""
_DIVIDED = ("auto", "balanced", "balanced_low_0", "sequential")
_FILES = {
    True: ("model{}.safetensors", "model.safetensors.index{}.json"),
    False: ("pytorch_model{}.bin", "pytorch_model.bin.index{}.json"),
}


def refuse_model(request: LegRequest, arguments: Any, transformers: Any) -> None:
    """Raise ConfigError, beginning with the path of the key, for what loading or the first step would fail on."""
    model = request.settings.get("model", {})
    options = model.get("options", {})
    for key, table in (("model", model), ("model.options", options)):
        if table.get("attn_implementation") == "flex_attention" and arguments.device.type == "cpu":
            raise ConfigError(
                f"{key}.attn_implementation: flex_attention cannot be trained on a CPU; use sdpa or eager"
            )
    for name in _OBJECTS:
        if name in options:
            raise ConfigError(f"model.options.{name}: transformers takes an object for it, which a file cannot hold")
    if options.get("output_loading_info"):
        raise ConfigError("model.options.output_loading_info: with it transformers returns more than the model")
    if options.get("return_dict") is False:
        raise ConfigError(
            "model.options.return_dict: with false the parts of the model do not find each other's values"
        )
    _refuse_numbers("model.options", options)
    _refuse_numbers("model.random", model.get("random", {}))
    if "device_map" in options:
        _refuse_devices(options["device_map"])
    _refuse_files(model, options)
    if request.settings.get("adapter") is not None:
        _refuse_adapter(request.settings["adapter"], model, transformers)


def _refuse_numbers(key: str, table: Mapping[str, Any]) -> None:
    """Refuse numbers of a model's configuration that transformers takes, and with which it fails or computes NaN."""
    for name, value in table.items():
        if name == "rope_parameters" and isinstance(value, Mapping):
            _refuse_numbers(f"{key}.{name}", value)
        if not isinstance(value, int | float):
            continue
        if name.endswith(("dropout", "pdrop")) and not 0 <= value <= 1:
            raise ConfigError(f"{key}.{name}: {value} is not between 0 and 1")
        if name.endswith(("norm_eps", "norm_epsilon")) and value < 0:
            raise ConfigError(f"{key}.{name}: {value} is negative: what is normalized becomes NaN")
        if name == "rope_theta" and value <= 0:
            raise ConfigError(f"{key}.{name}: {value} is not more than 0: positions become NaN")


def _refuse_devices(given: Any) -> None:
    """Refuse a device that is not here, and those whose weights cannot be trained."""
    if isinstance(given, str) and given in _DIVIDED:
        return
    import torch

    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count() if here is not None else 0
    for one in given.values() if isinstance(given, Mapping) else [given]:
        if one in ("disk", "meta"):
            raise ConfigError(f"model.options.device_map: weights on {one} cannot be trained")
        try:
            device = torch.device(here.type if here is not None else "cuda", one) if _index(one) else torch.device(one)
        except (RuntimeError, TypeError) as error:
            raise ConfigError(
                f"model.options.device_map: {one!r} is no device; write cpu, cuda:0 or one of {', '.join(_DIVIDED)}"
            ) from error
        if device.type != "cpu" and (here is None or device.type != here.type or (device.index or 0) >= count):
            raise ConfigError(f"model.options.device_map: there is no device {one} on this machine")


def _index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _refuse_files(model: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse a kind of file that the directory of the model does not have."""
    place = os.path.join(str(model.get("name_or_path", "")), str(options.get("subfolder") or ""))
    variant = options.get("variant")
    if "random" in model or not os.path.isdir(place) or "gguf_file" in options:
        return
    if variant is None and options.get("use_safetensors") is not False:
        return
    kinds = (False,) if options.get("use_safetensors") is False else (True, False)
    names = [name.format(f".{variant}" if variant else "") for kind in kinds for name in _FILES[kind]]
    if not any(os.path.isfile(os.path.join(place, name)) for name in names):
        key = "use_safetensors" if variant is None else "variant"
        raise ConfigError(f"model.options.{key}: {place} has none of {', '.join(names)}")


def _refuse_adapter(table: Mapping[str, Any], model: Mapping[str, Any], transformers: Any) -> None:
    """Refuse numbers with which the adapter adds nothing, and tokens that the model does not have."""
    if table.get("lora_alpha") == 0 and not table.get("alpha_pattern"):
        raise ConfigError("adapter.lora_alpha: with 0 the adapter adds nothing, and nothing is learned")
    dropout = table.get("lora_dropout")
    if isinstance(dropout, int | float) and dropout > 1:
        raise ConfigError(
            f"adapter.lora_dropout: {dropout} drops everything, and nothing is learned; it is a share below 1"
        )
    trained = table.get("trainable_token_indices")
    if trained not in (None, {}) and not list(_tokens(trained)):  # an empty table is none to peft
        raise ConfigError("adapter.trainable_token_indices: has no token; remove the key")
    asked = [key for key in ("trainable_token_indices", "alora_invocation_tokens") if table.get(key)]
    if not asked:
        return
    size = limits(model, transformers)[0]
    for key in asked:
        for token in _tokens(table[key]):
            if isinstance(token, int) and (token < 0 or (size is not None and token >= size)):
                raise ConfigError(
                    f"adapter.{key}: there is no token {token}; the model's vocabulary has {size}, from 0"
                )
    if trained is not None:
        _refuse_twice(trained, table.get("modules_to_save") or ())


def _tokens(value: Any) -> Iterator[Any]:
    for one in value.values() if isinstance(value, Mapping) else [value]:
        yield from one if isinstance(one, list) else [one]


def _refuse_twice(trained: Any, saved: Iterable[str]) -> None:
    """Refuse an embedding that is trained for some tokens and as a whole."""
    both = sorted(set(trained if isinstance(trained, Mapping) else ("embed_tokens",)) & set(saved))
    if both:
        raise ConfigError(
            f"adapter.trainable_token_indices: modules_to_save trains {both[0]} as a whole; remove one of them"
        )
