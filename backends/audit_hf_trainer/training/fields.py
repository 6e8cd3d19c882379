"""The fields of TrainingArguments and LoraConfig of the installed libraries as a JSON Schema."""

import dataclasses
import enum
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from audit.plugin import AuditError
from audit_hf_trainer.settings import MODEL, PATHS, PATHS_OR_NAMES, REFUSED, REFUSED_OF_ADAPTER, REFUSED_OF_TRL, TRAINER

PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}


def schema() -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of [model], [adapter] and [arguments]. Raises AuditError if the libraries are missing."""
    try:
        from peft import LoraConfig
        from transformers.training_args import TrainingArguments
    except ImportError as error:
        name = error.name or str(error)
        raise AuditError(
            f"training with hf-trainer needs {name}, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error
    arguments: dict[str, Any] = {}
    for holder in (*_more(), TrainingArguments):
        found = _table(holder, {**REFUSED, **REFUSED_OF_TRL})["properties"]
        arguments |= {name: _either(arguments.get(name, value), value) for name, value in found.items()}
    return {
        "model": MODEL,
        "adapter": _table(LoraConfig, REFUSED_OF_ADAPTER),
        "arguments": {"type": "object", "additionalProperties": False, "properties": arguments},
        "trainer": TRAINER,
    }


def _either(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what both classes take: loss_type is a text of SFTConfig and a list of DPOConfig."""
    return other if one == other else {"anyOf": [one, other]}


def _more() -> list[type]:
    """The arguments of trl's trainers, if it is installed. Which trainer takes which, the leg says."""
    try:
        from trl import DPOConfig, SFTConfig
    except (ImportError, RuntimeError):
        return []
    return [DPOConfig, SFTConfig]


def main() -> None:
    """Print the schema as JSON, or why there is none; see :mod:`audit_hf_trainer.tables`."""
    try:
        answer: Mapping[str, Any] = {"schema": schema()}
    except AuditError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def _table(holder: type, refused: Mapping[str, str]) -> Mapping[str, Any]:
    hints = _hints(holder)
    properties = {
        item.name: _schema_of(hints.get(item.name, typing.Any)) for item in dataclasses.fields(holder) if item.init
    }
    if "fsdp" in properties:
        properties["fsdp"] = {"anyOf": [{"type": "boolean"}, {"type": "string"}]}  # both, whatever is annotated
    for names, form in ((PATHS, "path"), (PATHS_OR_NAMES, "path-or-name")):
        for name in names:
            if name in properties:
                properties[name] = {**properties[name], "format": form}
    for name, reason in refused.items():
        if name in properties:
            properties[name] = {"not": {}, "refuse": reason}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _hints(holder: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(holder)
    except NameError:  # of a type that is imported for type checkers alone
        return {}


def _schema_of(hint: Any) -> Mapping[str, Any]:
    """Return a type annotation as a schema; what is not JSON is a table (a nested configuration)."""
    kind = typing.get_origin(hint) or hint
    if kind in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        names = [part for part in parts if isinstance(part, type) and issubclass(part, enum.Enum)]
        if names and set(parts) <= {*names, str}:  # an enumeration, or its value: any other string is a typo
            return {"enum": [member.value for name in names for member in name]}
        choices = [_schema_of(part) for part in parts]
        return choices[0] if len(choices) == 1 else {"anyOf": choices}
    if kind is typing.Literal:
        values = list(typing.get_args(hint))
        # PEFT documents a family of values by a pattern in brackets: then any string
        return {"type": "string"} if any("[" in str(value) for value in values) else {"enum": values}
    if kind is list:
        inner = typing.get_args(hint)
        return {"type": "array", "items": _schema_of(inner[0])} if inner else {"type": "array"}
    if kind is tuple:
        return {"type": "array"}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    return {} if kind is Any else {"type": "object"}
