"""adapter/config-changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import Adapter, Checkpoint, NotApplicable, Severity, Violation, rule, shortened

IDENTITY = (
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "target_modules", "target_parameters", "exclude_modules",
    "modules_to_save", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "bias",
    "fan_in_fan_out", "base_model_name_or_path", "revision", "trainable_token_indices", "num_virtual_tokens",
    "feedforward_modules", "layer_replication",
)  # fmt: skip
"""What determines the function that the adapter computes, and its model."""

INITIALISATION = "init_lora_weights"
TAKEN_FROM_THE_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Values of init_lora_weights (or how they begin: ``pissa_niter_16``) that change the weights of the base model."""

NOISE = ("peft_version", "inference_mode", "auto_mapping", "task_type")


@rule(
    Severity.ERROR,
    remedy="Continue with the configuration of the older checkpoint, or start a new run in its own directory.",
    explained_by=("adapter/shape-mismatch", "history/forked"),
)
def config_changed(checkpoint: Checkpoint, adapters: tuple[Adapter, ...], previous: Checkpoint) -> Iterator[Violation]:
    """The adapter's configuration differs from the previous checkpoint's.

    Trainer never reads ``adapter_config.json`` when it resumes: it uses the adapter that the code builds, whatever the
    file says. Another ``lora_alpha``, or rsLoRA, rescales everything trained before; another base model makes it
    meaningless. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA move a part of the base weights into the new adapter (PEFT
    0.21): on a base that was not changed in the same way this part counts twice. A difference in other values (dropout,
    an initialisation that leaves the base alone: EVA, gaussian, orthogonal, MiCA) is a warning.

    Lists are compared sorted (``target_modules`` is a set whose order changes with every process), and only keys that
    both files have: a newer PEFT adds some. The directory of a local base model may change, and its name if the ledger
    of `audit train` records the same weights.
    """
    before = {adapter.files.name: adapter for adapter in previous.adapters}
    compared = False
    for adapter in adapters:
        other = before.get(adapter.files.name)
        if other is None:
            continue
        compared = True
        if "peft_type" in other.config and "peft_type" not in adapter.config:
            yield Violation(
                f"{adapter.files.config} is not an adapter configuration: it has no peft_type",
                file=adapter.files.config,
                expected=shown(other.config["peft_type"]),
            )
            continue
        changed = [key for key in adapter.config if key in other.config and differs(key, adapter.config, other.config)]
        if "base_model_name_or_path" in changed and _same_base(checkpoint, previous):
            changed.remove("base_model_name_or_path")
        serious = [key for key in changed if key in IDENTITY]
        if base_differs(adapter.config, other.config):
            serious.append(INITIALISATION)
        if changed:
            key = (serious or changed)[0]
            told = "; ".join(
                f"{name} is {shown(adapter.config[name])}, was {shown(other.config[name])}"
                for name in (serious or changed)[:4]
            )
            yield Violation(
                f"{adapter.files.config} differs from that of {previous.name}: {told}",
                file=adapter.files.config,
                expected=shown(other.config[key]),
                actual=shown(adapter.config[key]),
                severity=None if serious else Severity.WARNING,
            )
    if not compared:
        raise NotApplicable(f"{previous.name} has no adapter of this name")


def _same_base(checkpoint: Checkpoint, previous: Checkpoint) -> bool:
    """Whether the ledger records that both were trained on the same base model, whatever it is called."""
    batches = checkpoint.run.records.batches
    one, other = batches.base_at(checkpoint.step), batches.base_at(previous.step)
    return one is not None and other is not None and "weights" in one and one.get("weights") == other.get("weights")


def differs(key: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether the values of a key in two adapter configurations mean different things."""
    if key in NOISE:
        return False
    one, other = _normal(mine[key]), _normal(theirs[key])
    if key == "base_model_name_or_path" and isinstance(one, str) and isinstance(other, str):
        return one != other and not (_is_path(one) and _is_path(other) and _last(one) == _last(other))
    return bool(one != other)


def base_differs(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether the initialisations of two adapter configurations leave different weights in the base model."""
    return INITIALISATION in mine and INITIALISATION in theirs and _taken(mine) != _taken(theirs)


def _taken(config: Mapping[str, Any]) -> str | None:
    value = str(config[INITIALISATION]).lower()
    return value if value.startswith(TAKEN_FROM_THE_BASE) else None


def _normal(value: Any) -> Any:
    """Sort lists of text and numbers; no value, an empty list and an empty object mean the same to PEFT."""
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value) or all(isinstance(item, int) for item in value):
            return sorted(value) or None
        return value
    return None if value == {} else value


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def shown(value: Any) -> str:
    """A value in a message: lists sorted, and nothing long."""
    text = (
        ", ".join(sorted(value))
        if isinstance(value, list) and all(isinstance(item, str) for item in value)
        else str(value)
    )
    return shortened(text, 80)
