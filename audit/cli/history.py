"""``audit history RUN``: the batches of a continuous training, as the ledger records them."""

import argparse
import os
from collections.abc import Container, Sequence
from typing import Any

from audit.audit_dir import LEDGER
from audit.cli.documents import add_format, write_document
from audit.cli.parser import one_line, write
from audit.cli.table import table
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.judging.auditor import Auditor, refuse_unread
from audit.ledger.back_events import DROPPED
from audit.ledger.batches import Batch, SetAside
from audit.ledger.records import read_records
from audit.ledger.timeline import Timeline
from audit.options import Options
from audit.retention.lock import holder_of
from audit.text import minute, shortened

EXAMPLES = (
    (
        "audit history current_model/",
        "steps, examples, loss and number of legs of each batch, and the files set aside",
    ),
    ("audit history current_model/ --format json", "the same as JSON, with the losses"),
)
LONGEST = 60
"""Characters of a file's name or a reason in the table."""
ADOPTED_NAMED = 10
"""Adopted files that are named."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="output directory of audit train")
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print what the ledger records; nothing is judged or written."""
    root, _ = locate(arguments.run)
    records, _ = read_records(root, write=False)
    problem = records.unusable or records.edited
    if problem:
        raise AuditError(f"the history cannot be read: {problem}")
    found = records.batches
    running = holder_of(root) is not None
    trained = found.batches or found.aside or found.redo or found.returns or found.adopted or found.adopted_files
    if not trained:
        refuse_unread(Auditor(Options()).open_quick(root))
    if arguments.format == "json":
        write_document(_document(root, found, running))
    elif not trained:
        known = os.path.lexists(os.path.join(root, LEDGER))
        why = "its ledger records none" if known else "it has no ledger"
        write(f"{one_line(arguments.run)}: audit train has trained no batch here: {why}\n", None)
    else:
        write(
            "\n".join(
                part
                for part in (
                    _trained(found, running),
                    _again(found.redo),
                    _aside(found.aside),
                    _returns(found),
                    _changed(found),
                    _adopted(found),
                )
                if part
            ),
            None,
        )
    return 0


def _document(run: str, found: Timeline, running: bool) -> dict[str, Any]:
    return {
        "run": run,
        "running": running,
        "batches": [_batch(item) for item in found.batches],
        "redo": [_batch(item) for item in found.redo],
        "aside": [item._asdict() for item in found.aside],
        "returns": [item._asdict() for item in found.returns],
        "changes": [{"step": leg.first_step, "settings": dict(leg.changes)} for leg in found.legs if leg.changes],
        "returning": found.returning is not None,
        "dropped": sorted(set(found.dropped.values())),
        "adopted": {"step": found.adopted, "files": sorted(found.adopted_files.values())},
    }


def _batch(item: Batch) -> dict[str, Any]:
    fields = item._asdict()
    moved = dict(fields.pop("moved"))
    parts = [
        {"digest": part.batch, **part._asdict(), "retired": part.batch in moved, "to": moved.get(part.batch)}
        for part in item.parts
    ]
    for part in parts:
        del part["batch"]
    return {**fields, "parts": parts}


def _trained(found: Timeline, running: bool) -> str:
    if not found.batches:
        return ""
    rolled_back = found.over | {item.digest for item in found.batches if found.is_given_up(item.step)}
    replayed = any(item.replayed for item in found.batches)
    heads: tuple[str, ...] = ("#", "FILE", "STATE", "STEPS", "EXAMPLES", "REPLAYED", "EPOCHS", "LOSS", "LEGS")
    heads = (*heads, "STARTED (UTC)", "DURATION", "")
    rows = [
        (
            place,
            _short(file.file),
            _state(file, running, item.digest in rolled_back),
            _steps(item),
            file.examples if file is not item or item.examples is None else item.examples - item.replayed * item.epochs,
            item.replayed * item.epochs if place == number else "",
            item.epochs,
            _loss(item),
            item.legs,
            minute(item.started),
            _duration(item.seconds),
            _short(item.reason or ""),
        )
        for number, item in enumerate(found.batches, 1)
        for place, file in zip((number, *([""] * (len(item.files) - 1))), item.files, strict=True)
    ]
    if not replayed:
        heads, rows = _without("REPLAYED", heads, rows)
    return table(heads, rows, drop=("LEGS", "EPOCHS", "DURATION", "STARTED (UTC)")) + _total(found, rolled_back)


def _without(head: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> tuple[tuple[str, ...], list[Any]]:
    place = heads.index(head)
    return heads[:place] + heads[place + 1 :], [row[:place] + row[place + 1 :] for row in rows]


def _state(batch: Batch, running: bool, rolled_back: bool) -> str:
    """The state of the ledger, but "interrupted" if a process that was training did not write its end."""
    if batch.state == DROPPED:
        return "dropped"
    if rolled_back:
        return "rolled back"
    return "interrupted" if batch.state == "training" and not running else batch.state


def _total(found: Timeline, rolled_back: Container[str]) -> str:
    batches = found.batches
    done = [item for item in batches if item.trained and item.digest not in rolled_back]
    steps = max((item.step for item in batches), default=0)
    steps = steps if found.given_up is None else min(steps, found.given_up)
    text = f"{len(batches)} batch{'es' if len(batches) != 1 else ''}, {len(done)} trained to the end, step {steps}"
    if done and all(item.examples is not None for item in done):
        again = sum(item.replayed * item.epochs for item in done)
        text += f", {sum(item.examples or 0 for item in done) - again} examples"
        text += f" and {again} replayed" if again else ""
    return text + "\n"


def _again(redo: Sequence[Batch]) -> str:
    if not redo:
        return ""
    rows = [(_short(item.file), f"was steps {item.first_step + 1}-{item.step}", item.legs) for item in redo]
    return "rolled back, to be trained again:\n" + table(("FILE", "STEPS", "LEGS"), rows)


def _aside(aside: Sequence[SetAside]) -> str:
    if not aside:
        return ""
    rows = [
        (_short(item.file), item.event, minute(item.time), _short(item.to or "-"), _short(item.reason, 3 * LONGEST))
        for item in aside
    ]
    return "not trained:\n" + table(("FILE", "STATE", "WHEN (UTC)", "MOVED TO", "REASON"), rows)


def _returns(found: Timeline) -> str:
    """How the run was taken back, and whether that is still to be finished."""
    if not found.returns:
        return ""
    rows = [
        (item.checkpoint, item.step, minute(item.time), _short(", ".join(item.dropped) or "-", 3 * LONGEST))
        for item in found.returns
    ]
    note = "" if found.returning is None else "the last one was interrupted; the next audit train finishes it\n"
    return "taken back (--back-to):\n" + table(("CHECKPOINT", "STEP", "WHEN (UTC)", "DROPPED"), rows) + note


def _changed(found: Timeline) -> str:
    """Which settings were changed, and from which step on."""
    return "".join(
        f"changed (--change): {name} is {value:g} from step {leg.first_step + 1} on\n"
        for leg in found.legs
        for name, value in leg.changes.items()
    )


def _adopted(found: Timeline) -> str:
    parts = [f"steps 1-{found.adopted}, which belong to no batch"] if found.adopted else []
    names = sorted(found.adopted_files.values())
    if names:
        more = f" and {len(names) - ADOPTED_NAMED} more" if len(names) > ADOPTED_NAMED else ""
        parts.append(f"as trained: {', '.join(map(_short, names[:ADOPTED_NAMED]))}{more}")
    return f"adopted (--adopt): {'; '.join(parts)}\n" if parts else ""


def _steps(batch: Batch) -> str:
    """Steps that were trained, counted from 1, and the last one of the batch."""
    done = f"{batch.first_step + 1}-{batch.step}" if batch.step > batch.first_step else "none"
    last = batch.last_step
    return done if last is None or last <= batch.step else f"{done} of {last}"


def _loss(batch: Batch) -> str | None:
    return f"{batch.losses[0][1]:.4g} -> {batch.losses[-1][1]:.4g}" if batch.losses else None


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(text: str, longest: int = LONGEST) -> str:
    return shortened(text, longest)
