"""``audit data FILE``: how the rows of a data file are read, and what of them is trained on."""

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.parser import one_line, write
from audit.cli.table import wrapped
from audit.data.row_formats import AUTO
from audit.data.survey import Read, Survey, as_written, survey
from audit.manager import load

EXAMPLES = (
    ("audit data monday.jsonl", "format, rows, lengths in characters, and the first example"),
    ("audit data alpaca.json --config train.toml", "the same with the tokenizer and the options of a configuration"),
    ("audit data monday.jsonl.gz --format json", "everything, as JSON"),
)
LINES = 40
"""Lines of the first example that are shown."""
LETTERS = 4000
"""Characters of it that are shown."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="data file: JSON Lines, a JSON list or Parquet")
    parser.add_argument(
        "--config", metavar="CONFIG", help="TOML file of audit train: tokenizer, format, loss_on, max_length"
    )
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print how the file is read; 0 if all rows can be trained, 1 if some are refused, 2 if it cannot be read."""
    options, read, notes = _reader(arguments.file, arguments.config)
    found = survey(arguments.file, options.get("format", AUTO), read or as_written(options.get("loss_on")))
    unit = "tokens" if read is not None or found.format == "input_ids" else "characters"
    if arguments.format == "json":
        write_document(document(arguments.file, found, unit, notes), as_is=True)
    else:
        write("".join(wrapped(line, 12) for line in _lines(arguments.file, found, unit, notes)), None)
    return 2 if found.stopped is not None else 1 if found.refused else 0


def _reader(path: str, config_path: str | None) -> tuple[Mapping[str, Any], Read | None, list[str]]:
    """Return the options of the data, how the backend reads rows (None: it does not say), and what is worth knowing."""
    if config_path is None:
        return {}, None, ["without --config the tokenizer is not known: lengths are of the text as it is written"]
    from audit.backend.training import LegData
    from audit.training.config import read_train_config

    config, trainer = read_train_config(config_path, load())
    notes = []
    name = os.path.basename(path)
    if not config.data.takes(name):
        notes.append(
            f"audit train would ignore it: {name} matches none of {', '.join(config.data.patterns)} (data.pattern)"
        )
    if config.data.group is not None:
        notes.append(
            f"audit train would train it together with other files, until they have {config.data.group} examples"
        )
    if config.data.replay:
        notes.append(
            f"audit train would mix in examples of earlier files, {config.data.replay:g} times as many rows as it has"
        )
    make = getattr(trainer, "reader", None)
    if make is None:
        notes.append(f"the backend {trainer.name} reads the file itself: how it tokenizes rows is not known")
        return config.data.options, None, notes
    made = make(LegData(path, options=config.data.options), config.settings)
    if made is None:
        notes.append("the trainer of the configuration tokenizes rows itself: lengths are of the text as it is written")
    return config.data.options, made, notes


def document(path: str, found: Survey, unit: str, notes: list[str]) -> Mapping[str, Any]:
    """Return what was found as docs/data.md describes it."""
    lengths, first = found.lengths, found.first
    return {
        "file": path,
        "container": found.container,
        "format": found.format,
        "rows": found.rows,
        "refused": found.refused,
        "refusals": [{"row": row, "reason": reason} for row, reason in found.refusals],
        "unit": unit,
        "lengths": None
        if lengths is None
        else {
            "min": lengths.smallest,
            "median": lengths.median,
            "p95": lengths.most,
            "max": lengths.largest,
            "total": lengths.total,
        },
        "trained_on": found.learned,
        "truncated": found.cut,
        "first": None
        if first is None
        else {
            "row": first.row,
            "length": first.length,
            "pieces": [{"text": text, "trained_on": trained} for text, trained in first.pieces],
        },
        "stopped": found.stopped,
        "notes": notes,
    }


def _lines(path: str, found: Survey, unit: str, notes: list[str]) -> Iterator[str]:
    yield one_line(f"{path}: {found.container}, format {found.format or 'unknown'}")
    yield f"rows        {found.rows}" + (f", {found.refused} refused" if found.refused else "")
    if found.lengths is not None:
        small, median, most, large, total = found.lengths
        yield f"length      {small} to {large} {unit}, median {median}, 95% up to {most}, total {total}"
        yield f"trained on  {found.learned} of {total} {unit} ({found.learned / max(total, 1):.0%})"
    if found.cut:
        yield f"truncated   {found.cut} to the greatest length"
    for row, reason in found.refusals:
        yield one_line(f"refused     row {row}: {reason}")
    if found.refused > len(found.refusals):
        yield f"            and {found.refused - len(found.refusals)} more"
    if found.stopped is not None:
        yield one_line(f"cannot be read to its end: {found.stopped}")
    for note in notes:
        yield one_line(f"note: {note}")
    if found.first is not None:
        yield ""
        yield f"first example, row {found.first.row}, {found.first.length} {unit} (> trained on, | not):"
        yield from _shown(found.first.pieces)


def _shown(pieces: tuple[tuple[str, bool], ...]) -> Iterator[str]:
    """The text of an example, each line with a mark of whether it is trained on."""
    lines: list[str] = []
    left = LETTERS
    for text, trained in pieces:
        lines += [f"  {'>' if trained else '|'} {one_line(line)}".rstrip() for line in text[:left].split("\n")]
        if text.endswith("\n") and len(text) <= left:
            lines.pop()  # the next piece begins a line of its own in any case
        left -= len(text)
        if left < 0 or len(lines) > LINES:
            break
    yield from lines[:LINES]
    if left < 0 or len(lines) > LINES:
        yield "  ... and more; --format json has all"
