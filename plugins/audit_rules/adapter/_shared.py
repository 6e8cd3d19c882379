"""What the rules on adapters share: the modules of an adapter, and how PEFT matches names to them."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.plugin import Adapter, Tensor

PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_embedding_[AB]|lora_[AB]|lora_magnitude_vector)(?:\.(?P<kind>weight|bias))?"
)
_PLAIN = re.compile(r"[A-Za-z0-9_.\-]+")


class Module(NamedTuple):
    """One adapted module: its tensors by part, ``lora_A`` and ``lora_B`` (of an embedding as well), ``magnitude``."""

    name: str
    parts: Mapping[str, Tensor]


def modules(adapter: Adapter) -> dict[str, Module]:
    """Return the modules that LoRA tensors in the file belong to, by name without PEFT's prefix."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in adapter.tensors.items():
        match = _PART.fullmatch(name.removeprefix(PREFIX))
        if match is None or match["kind"] == "bias":
            continue
        part = match["part"].replace("embedding_", "")
        found.setdefault(match["module"], {})["magnitude" if part.startswith("lora_m") else part] = tensor
    return {name: Module(name, parts) for name, parts in found.items()}


def is_plain(pattern: str) -> bool:
    """Say whether a pattern is a name; others are untrusted regular expressions and are never run."""
    return _PLAIN.fullmatch(pattern.removeprefix("^")) is not None


def matches(module: str, name: str) -> bool:
    """Say whether a name in ``target_modules`` or a plain key of ``rank_pattern`` means this module.

    PEFT compares the whole name, or its end after a dot; ``^`` in a pattern requires the whole name.
    """
    if name.startswith("^"):
        return module == name[1:]
    return module == name or module.endswith(f".{name}")


def names_of(config: Mapping[str, Any], key: str) -> list[str]:
    """Return a list of names in the configuration, sorted; empty if the value is not a list of strings."""
    value = config.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return []
    return sorted(value)
