"""The log history of a run over all its checkpoints, and the checkpoints themselves, for other programs."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.text import plain
from audit.version import __version__
from audit.views.inspection import Inspection

if TYPE_CHECKING:
    from audit.formats.history import Entry

COLUMNS = 200
"""Columns of the log as CSV, the most frequent keys; everything else of an entry is in the column ``others``."""

FIRST = ("lineage", "checkpoint", "step", "epoch")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LINE_ENDS = re.compile("\r\n?")


def as_json(found: Inspection) -> str:
    """Return everything as one JSON object, version 1; docs/contract.md describes it."""
    lineages = [
        {"checkpoints": [item.name for item in members], "log": list(_log(members[-1]))} for members in _lineages(found)
    ]
    document = {
        "schema_version": 1,
        "tool": {"name": "checkpoint-audit", "version": __version__},
        "run": {"path": found.run.path, "backend": found.run.backend.name},
        "checkpoints": list(_checkpoints(found)),
        "lineages": lineages,
    }
    return json.dumps(plain(document), indent=2, allow_nan=False) + "\n"


def log_csv(found: Inspection) -> str:
    """Return the log as CSV, one row for each entry of each lineage; ``checkpoint`` is the first with the entry.

    Raises AuditError if no checkpoint has a log.
    """
    counts: Counter[str] = Counter()
    lineages = _lineages(found)
    for members in lineages:
        for entry in _log(members[-1]):
            counts.update(entry.keys())
    if lineages and all(members[-1].optional("history") is None for members in lineages):
        raise AuditError(
            f"{found.run.path}: no checkpoint has a log (Trainer keeps one in trainer_state.json); add --table "
            "checkpoints to export what else is there"
        )
    keys = sorted(key for key, _ in counts.most_common(COLUMNS) if key not in FIRST)
    others = any(key not in keys and key not in ("step", "epoch") for key in counts)
    heads = [*FIRST, *(f"log.{key}" if key == "others" else key for key in keys), *(["others"] if others else [])]

    def rows() -> Iterator[list[Any]]:
        for number, members in enumerate(lineages):
            ends = iter([(len(_log(item)), item.name) for item in members])
            end, name = next(ends)
            for place, entry in enumerate(_log(members[-1])):
                while place >= end:
                    end, name = next(ends)
                row = [number, name, entry.get("step"), entry.get("epoch"), *(entry.get(key) for key in keys)]
                rest = {key: item for key, item in entry.items() if key not in keys and key not in ("step", "epoch")}
                yield [*row, rest or None] if others else row

    return _csv(heads, rows())


def checkpoints_csv(found: Inspection) -> str:
    """Return the checkpoints as CSV, one row each."""
    rows = list(_checkpoints(found))
    return _csv(list(rows[0]), ([row[key] for key in rows[0]] for row in rows))


def _lineages(found: Inspection) -> Sequence[Sequence[Checkpoint]]:
    """The histories of which a judged checkpoint is part, each up to its last judged one."""
    judged = frozenset(item.name for item in found.run.judged)
    kept = ([item for item in members if item.name in judged] for members in found.run.lineages)
    return [members for members in kept if members]


def _log(checkpoint: Checkpoint) -> "Sequence[Entry]":
    """The log that a checkpoint has: only Trainer keeps one, in its state."""
    return checkpoint.optional("history") or ()


def _checkpoints(found: Inspection) -> Iterator[Mapping[str, Any]]:
    lineage = {item.name: number for number, members in enumerate(_lineages(found)) for item in members}
    for checkpoint in found.run.judged:
        line = found.overview(checkpoint)._asdict()
        yield {"name": line.pop("name"), "step": checkpoint.step, "lineage": lineage.get(checkpoint.name), **line}


def _csv(heads: Sequence[str], rows: Iterator[list[Any]] | Iterator[Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(head) for head in heads])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A number as it is; text from the run that a spreadsheet would take for a formula is marked as text."""
    value = plain(value)
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, str):
        formula = value.startswith(_FORMULA) and value not in ("-inf", "-")
        text = _LINE_ENDS.sub("\n", value)  # csv does not quote a bare CR, and in a spreadsheet it begins a new row
        return f"'{text}" if formula else text
    return value
