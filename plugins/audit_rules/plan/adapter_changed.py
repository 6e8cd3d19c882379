"""plan/adapter-changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import Adapter, Checkpoint, NotApplicable, Plan, Severity, Violation, rule
from audit_rules.adapter.config_changed import IDENTITY, INITIALISATION, base_differs, differs, shown

_BASE = ("base_model_name_or_path", "revision")
_COMPRESSED = 20
"""With this many names PEFT saves a shorter list that matches the same modules (tuners_utils.py, 0.21)."""


@rule(
    Severity.ERROR,
    remedy="Plan the adapter of the checkpoint, or start a new run in its own directory, from the merged weights.",
)
def adapter_changed(plan: Plan, adapter: Mapping[str, Any] | None, resume: Checkpoint) -> Iterator[Violation]:
    """The planned adapter differs from that of the checkpoint to resume from.

    Trainer never reads ``adapter_config.json`` when it resumes: it loads the tensors into the adapter that the program
    builds. Another rank crashes; another ``lora_alpha`` or rsLoRA rescales what was trained before; other targets
    silently leave a part untrained. Learning rate, dropout and the interval of saves may change; rank, targets and base
    model may not.

    PiSSA, OLoRA, CorDA, LoftQ or LoRA-GA (``init_lora_weights``) may neither be added nor removed: they change the base
    weights.

    Not compared is what PEFT takes from the model: targets that are not given, ``all-linear``, a pattern.
    """
    layout = resume.layout
    whole = set(layout.weights) - {item.weights for item in layout.adapters}
    if adapter is None:
        if layout.adapters and not whole:
            yield Violation(
                f"The whole model is to be trained, but {resume.name} has an adapter",
                expected="an adapter",
                actual="none",
            )
        return
    if not layout.adapters:
        if not whole:
            raise NotApplicable(f"{resume.name} has neither an adapter nor a model in a known format")
        yield Violation(
            f"An adapter is to be trained, but {resume.name} has a whole model", expected="none", actual="an adapter"
        )
        return
    held = _default(resume)
    changed = [key for key in IDENTITY if key not in _BASE and _differs(key, adapter, held.config)]
    if base_differs(adapter, held.config):
        changed.append(INITIALISATION)
    if changed:
        key = changed[0]
        told = "; ".join(f"{name} is {shown(adapter[name])}, was {shown(held.config[name])}" for name in changed[:4])
        yield Violation(
            f"The planned adapter differs from that of {resume.name}: {told}",
            expected=shown(held.config[key]),
            actual=shown(adapter[key]),
        )


def _default(resume: Checkpoint) -> Adapter:
    adapters = resume.adapters
    root = [item for item in adapters if item.files.config is not None and "/" not in item.files.config]
    if len(root) != 1:
        raise NotApplicable(f"{resume.name} has adapters of other names than the planned one")
    return root[0]


def _differs(key: str, planned: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    if key not in planned or key not in held:
        return False
    value = planned[key]
    if key == "target_modules" and isinstance(value, str) != isinstance(held[key], str):
        return False  # a keyword or a pattern, for which PEFT saves the names that it found
    if key == "target_modules" and (value is None or len(value) >= _COMPRESSED) and not isinstance(value, str):
        return False
    one = {key: list(value) if isinstance(value, tuple) else value}
    return differs(key, _json(one), held)


def _json(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values with the keys of nested tables as strings, as in JSON."""
    return {
        key: {str(name): item for name, item in value.items()} if isinstance(value, dict) else value
        for key, value in values.items()
    }
