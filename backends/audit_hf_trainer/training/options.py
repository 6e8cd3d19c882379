"""Which option of [model] a model cannot be made or loaded with; it is tried on tensors without values.

An option is named only if the model can be made without it, so that a model which does not know torch's meta device is
not taken for a wrong configuration. Sources: transformers 5.24, ``modeling_utils.py``, ``from_pretrained``, and
``models/auto/auto_factory.py``, which gives the configuration what it knows and the rest to the model.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from audit.plugin import ConfigError, first_line
from audit_hf_trainer.base import base_directory
from audit_hf_trainer.training.renamed import empty_tensors

_LEFT_OUT = frozenset({
    "attn_implementation", "quantization_config", "device_map", "max_memory", "offload_folder", "offload_buffers",
    "subfolder", "variant", "use_safetensors", "revision", "cache_dir", "force_download", "local_files_only", "token",
    "proxies", "code_revision", "trust_remote_code", "tp_plan", "tp_size", "device_mesh", "distributed_config", "config",
    "use_kernels", "kernel_config", "allow_all_kernels", "adapter_kwargs", "adapter_name", "weights_only",
})  # fmt: skip
"""Options of files, devices and kernels, which say nothing of tensors without values."""
_TYPES = ("dtype", "torch_dtype")


def refuse_blamed(settings: Mapping[str, Any], error: Exception, make: Callable[[Mapping[str, Any]], Any]) -> None:
    """Raise ConfigError if the model that failed with ``error`` can be made without an option, or is a random one.

    ``make`` makes the model of the settings that it is given.
    """
    model = settings.get("model", {})
    if "random" in model:
        raise ConfigError(f"model.random: {_said(error)}") from error
    options = model.get("options", {})
    if not options or not _works(lambda: make({**settings, "model": {**model, "options": {}}})):
        return

    def without(name: str) -> Any:
        less = {other: value for other, value in options.items() if other != name}
        return make({**settings, "model": {**model, "options": less}})

    raise ConfigError(f"{_key(options, without)}: {_said(error)}") from error


def refuse_unloadable(settings: Mapping[str, Any], made: Any, transformers: Any) -> None:
    """Raise ConfigError for an option with which the files of the model cannot be loaded into it.

    ``made`` is the whole model, on torch's meta device. Names and shapes in the files are read, no values.
    """
    model = settings.get("model", {})
    options = {name: value for name, value in model.get("options", {}).items() if name not in _LEFT_OUT}
    place = base_directory(settings)
    if not options or place is None or "gguf_file" in options or not type(made).__module__.startswith("transformers."):
        return
    try:
        empty = empty_tensors(os.path.join(place, str(model["options"].get("subfolder") or "")))
    except Exception:  # a kind of file that is read in another way
        return
    if not empty:
        return

    def load(given: Mapping[str, Any]) -> None:
        config, rest = transformers.AutoConfig.from_pretrained(
            model["name_or_path"],
            return_unused_kwargs=True,
            revision=model["options"].get("revision", model.get("revision", "main")),
            subfolder=str(model["options"].get("subfolder") or ""),
            **{name: value for name, value in given.items() if not (name in _TYPES and value == "auto")},
        )
        rest |= {name: given[name] for name in _TYPES if name in given}
        type(made).from_pretrained(None, config=config, state_dict=empty, device_map="meta", **rest)

    try:
        load(options)
    except Exception as error:
        if not _works(lambda: load({})):
            return
        key = _key(options, lambda name: load({other: value for other, value in options.items() if other != name}))
        raise ConfigError(f"{key}: {_said(error)}") from error


def refuse_unrunnable(
    settings: Mapping[str, Any], made: Any, torch: Any, make: Callable[[Mapping[str, Any]], Any]
) -> None:
    """Raise ConfigError for fields of ``model.random`` or options with which the model fails on two tokens.

    ``made`` is the whole model, on torch's meta device; ``make`` makes that of other settings there. A model that
    cannot be run there says nothing.
    """
    model = settings.get("model", {})
    table = "random" if "random" in model else "options"
    given = {name: value for name, value in model.get(table, {}).items() if name not in _LEFT_OUT}
    if not given or not type(made).__module__.startswith("transformers."):
        return

    def run(made: Any) -> None:
        made(input_ids=torch.zeros(1, 2, dtype=torch.long))

    def less(keep: Callable[[str], bool]) -> Any:
        left = {name: value for name, value in model[table].items() if name in _LEFT_OUT or keep(name)}
        run(make({**settings, "model": {**model, table: left}}))

    try:
        run(made)
    except Exception as error:
        if not _works(lambda: less(lambda name: False)):
            return
        key = _key(given, lambda one: less(lambda name: name != one), f"model.{table}")
        raise ConfigError(f"{key}: {_said(error)}") from error


def _key(options: Mapping[str, Any], without: Callable[[str], Any], table: str = "model.options") -> str:
    """The path of the option without which it works, that of all if no single one is at fault."""
    for name in options:
        if _works(lambda name=name: without(name)):  # type: ignore[misc]
            return f"{table}.{name}"
    return table


def _works(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except Exception:
        return False
    return True


def _said(error: Exception) -> str:
    text = first_line(error, type(error).__name__)
    if "ignore_mismatched_sizes" in text:
        return "with it the model has tensors of other shapes than its files"
    return text if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {text}"
