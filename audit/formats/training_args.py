"""Read ``training_args.bin``: the fields of a TrainingArguments of any class, as plain values."""

from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.intake import read_whole
from audit.formats.json_text import parse_json
from audit.formats.pickle_values import Call, Global, TensorRef
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import RangeReader

_DEPTH = 6
_VALUES = 100_000
_JSON_LIMIT = 1 << 20
_OTHERS = (
    frozenset({"param_groups", "state"}),
    frozenset({"last_epoch", "_step_count"}),
    frozenset({"scale", "growth_factor"}),
    frozenset({"python", "cpu"}),
)
"""Keys of the states of an optimizer, a scheduler, a gradient scaler and the random number generators."""
_SINGLE = (
    "lr_scheduler_type", "optim", "logging_strategy", "eval_strategy", "evaluation_strategy", "save_strategy",
    "hub_strategy", "max_steps", "num_train_epochs", "learning_rate", "warmup_steps", "warmup_ratio", "weight_decay",
    "save_steps", "logging_steps", "eval_steps", "save_total_limit", "per_device_train_batch_size",
    "gradient_accumulation_steps", "adam_beta1", "adam_beta2", "adam_epsilon", "seed", "metric_for_best_model",
)  # fmt: skip
"""Arguments that are one text or one number in every version; the rules compute with them."""


class TrainingArguments(NamedTuple):
    """Fields by name. Enums are their value (``"steps"``), devices text (``"cuda:0"``), nested objects dictionaries.

    ``num_processes`` is added from ``distributed_state``. ``class_name`` is empty if the file is JSON text, as
    LLaMA-Factory wrote it in 2023. ``names`` are the classes that the pickle names.
    """

    class_name: str
    values: dict[str, Any]
    names: tuple[str, ...]


def read_training_args(reader: RangeReader, known: TorchArchive | None = None) -> TrainingArguments | Damage:
    """Read training arguments from a torch archive or from JSON text; ``known`` is the archive if it was read."""
    if reader.size <= _JSON_LIMIT and reader.read(0, 1) == b"{":
        data = read_whole(reader, _JSON_LIMIT)
        document = data if isinstance(data, Damage) else parse_json(data)
        if isinstance(document, Damage):
            return document
        return _wrong_type(document) or TrainingArguments("", document, ())
    archive = known if known is not None else read_torch(reader)
    if isinstance(archive, Damage):
        return archive
    root = archive.value
    budget = [_VALUES]
    if type(root) is Call:
        fields, class_name = _plain(_state(root), 0, budget), root.function
    else:
        fields, class_name = _plain(root, 0, budget), ""
    if type(fields) is not dict or not all(type(name) is str for name in fields):
        if type(root) is not Call:
            return Damage(Kind.MALFORMED, "has no training arguments")
        fields = {}
    if type(root) is dict and any(marks <= root.keys() for marks in _OTHERS):
        return Damage(Kind.MALFORMED, "has no training arguments, but the content of another file")
    wrong = _wrong_type(fields)
    if wrong is not None:
        return wrong
    distributed = fields.get("distributed_state")
    if type(distributed) is dict and "num_processes" not in fields:
        fields["num_processes"] = distributed.get("num_processes")
    return TrainingArguments(class_name, fields, archive.names)


def _wrong_type(fields: dict[str, Any]) -> Damage | None:
    """Return the Damage of arguments in which a list or an object stands for text or for a number."""
    for name in _SINGLE:
        value = fields.get(name)
        if type(value) in (list, dict, tuple, bytes):
            kind = type(value).__name__
            return Damage(Kind.MALFORMED, f"has no training arguments of Trainer: {name} is a {kind}")
    return None


def _state(call: Call) -> Any:
    """Return the attributes of an object: its state, or the dictionary beside the slots."""
    state = call.state
    if type(state) is tuple and len(state) == 2:
        return state[0] or state[1]
    return state


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    """Return a copy of plain values; what is nested deeper than any real arguments becomes None."""
    budget[0] -= 1
    if depth > _DEPTH or budget[0] < 0:
        return None
    kind = type(value)
    if kind is dict:
        return {key: _plain(item, depth + 1, budget) for key, item in value.items() if budget[0] >= 0}
    if kind in (list, tuple):
        return [_plain(item, depth + 1, budget) for item in value if budget[0] >= 0]
    if kind is Global:
        return value.name
    if kind is TensorRef:
        return None
    if kind is not Call:
        return value
    args = value.args
    if value.state is not None:
        return _plain(_state(value), depth + 1, budget)
    if len(args) == 2 and type(args[0]) is Global and type(args[1]) is str:
        return args[1].lower()  # getattr(IntervalStrategy, "STEPS"): these enums' values are their names in lower case
    if value.function == "torch.device":
        return ":".join(str(part) for part in args if type(part) in (str, int))
    if len(args) == 1 and type(args[0]) in (str, int, float):
        return args[0]
    return [_plain(item, depth + 1, budget) for item in args if budget[0] >= 0]
