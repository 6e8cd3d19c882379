"""The planned adapter as ``adapter_config.json`` would hold it, without loading PEFT, which loads torch.

PEFT's defaults are read from its source, which is not executed. Of a table with anything that PEFT checks or turns into
another value, PEFT itself is asked.
"""

import ast
import functools
import importlib.util
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

PLAIN: Mapping[str, tuple[type, ...]] = {
    "r": (int,), "lora_alpha": (int, float), "lora_dropout": (int, float), "target_modules": (str, list),
    "modules_to_save": (list,), "bias": (str,), "use_rslora": (bool,), "fan_in_fan_out": (bool,), "task_type": (str,),
}  # fmt: skip
"""Fields of LoraConfig that PEFT 0.21 takes as they are, by the types of their values."""
NEEDED = frozenset({"r", "lora_alpha", "target_modules", "use_dora", "bias", "rank_pattern", "init_lora_weights"})
"""Fields whose defaults must be found in the source for the others to be believed."""


def planned_adapter(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the LoRA configuration as in adapter_config.json, except for what PEFT takes from the model.

    Raises ConfigError.
    """
    table = settings.get("adapter")
    if table is None:
        return None
    defaults = _defaults()
    if defaults is None or not all(_is_plain(name, value) for name, value in table.items()):
        from audit_hf_trainer.training.sizing import adapter_by_peft

        return adapter_by_peft(table)
    found = {**defaults, "peft_type": "LORA", "task_type": "CAUSAL_LM", **table}
    return {name: sorted(value) if name == "target_modules" and isinstance(value, list) else value
            for name, value in found.items()}  # fmt: skip


def _is_plain(name: str, value: Any) -> bool:
    if name not in PLAIN or not isinstance(value, PLAIN[name]) or (isinstance(value, bool) and bool not in PLAIN[name]):
        return False
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return name != "task_type" or value == "CAUSAL_LM"


@functools.cache
def _defaults() -> Mapping[str, Any] | None:
    """Return the literal defaults of LoraConfig and its bases by field; None if PEFT is not as it is known."""
    spec = importlib.util.find_spec("peft")
    home = next(iter(spec.submodule_search_locations or ()), None) if spec is not None else None
    if home is None:
        return None
    found: dict[str, Any] = {}
    for place, names in (
        ("config.py", ("PeftConfigMixin", "PeftConfig")),
        (os.path.join("tuners", "lora", "config.py"), ("LoraConfig",)),
    ):
        try:
            with open(os.path.join(home, place), "rb") as file:
                body = ast.parse(file.read()).body
        except (OSError, SyntaxError, ValueError):
            return None
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                found.update(_fields(node))
    return found if found.keys() >= NEEDED else None


def _fields(node: ast.ClassDef) -> dict[str, Any]:
    """Return the fields of a dataclass whose default is written out."""
    found: dict[str, Any] = {}
    for item in node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
            continue
        value = item.value
        for keyword in value.keywords if isinstance(value, ast.Call) else ():
            if keyword.arg == "default":
                with suppress(ValueError):
                    found[item.target.id] = ast.literal_eval(keyword.value)
            elif (
                keyword.arg == "default_factory" and isinstance(keyword.value, ast.Name) and keyword.value.id == "dict"
            ):
                found[item.target.id] = {}
        if isinstance(value, ast.Constant):
            found[item.target.id] = value.value
    return found
