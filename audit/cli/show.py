"""``audit show CHECKPOINT``: one checkpoint in detail."""

import argparse
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import CHECKPOINT_OR_RUN, add_ledger, viewing
from audit.cli.parser import columns, one_line, write
from audit.cli.table import colored, table, wrapped
from audit.manager import load
from audit.report import in_words
from audit.text import brief, human_bytes
from audit.views.inspection import inspect
from audit.views.summary import details, path_of

EXAMPLES = (
    ("audit show current_model/checkpoint-300", "step, losses, learning rate, optimizer, adapter and files"),
    ("audit show current_model/", "the newest checkpoint of a run"),
    ("audit show current_model/checkpoint-300 --format json", "everything, as JSON"),
)
FILES = 20
"""Files that are shown, the largest: the output fits on one screen."""
WIDEST = 110
"""Columns of a paragraph; on a narrower terminal its width."""
GLUE = "\N{NO-BREAK SPACE}"
"""Between a name and its value: no line ends there."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT_OR_RUN)
    add_ledger(parser)
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print what the files of one checkpoint contain, and its state as far as it shows without reading weights."""
    registry = load()
    found = inspect(arguments.checkpoint, viewing(arguments, registry), registry=registry)
    checkpoint = found.run.judged[-1]
    line, facts = found.overview(checkpoint), details(checkpoint)
    path = path_of(arguments.checkpoint, checkpoint)
    if arguments.format == "json":
        files = facts.pop("files", {})
        write_document({"path": path, "checkpoint": line._asdict(), "sections": facts, "files": files})
        return 0
    about = f" ({line.reason})" if line.reason else ""
    about += f"; {'of unknown kind' if line.kind in (None, 'unknown') else line.kind}, {line.files} files, {human_bytes(line.bytes)}"
    about += f"; saved {line.saved.replace('T', ' ').rstrip('Z')} UTC" if line.saved else ""
    state = in_words(line.state, line.by_structure)
    text = one_line(path) + "\n" + wrapped(state + one_line(about), 4).replace(state, colored(state), 1)
    text += "\n"
    files = facts.pop("files", {})
    text += "".join(_section(title, values) for title, values in facts.items())
    write(text + _files(files), None)
    return 0


def _section(title: str, values: Mapping[str, Any]) -> str:
    """One paragraph: ``title  name value, name value``, what is not set left out."""
    shown = {name: one_line(_value(value)) for name, value in values.items() if value is not None}
    pairs = ", ".join(f"{one_line(name)}{GLUE}{value}" for name, value in shown.items())
    return (
        textwrap.fill(
            pairs,
            width=min(WIDEST, columns()) if sys.stdout.isatty() else WIDEST,
            initial_indent=f"{one_line(title)[:40]:<20}",
            subsequent_indent=" " * 20,
            break_long_words=False,
            break_on_hyphens=False,
        ).replace(GLUE, " ")
        + "\n"
    )


def _value(value: Any) -> str:
    if not isinstance(value, dict):
        return brief(value)
    return f"({', '.join(f'{name} {brief(item)}' for name, item in list(value.items())[:9])})"


def _files(files: Mapping[str, int]) -> str:
    if not files:
        return ""
    largest = sorted(files, key=lambda name: -files[name])[:FILES]
    rows = [("  " + name, human_bytes(size), "") for name, size in files.items() if name in largest]
    rest = len(files) - len(largest)
    return "\n" + table(None, rows) + (f"  and {rest} more; --format json has all\n" if rest else "")
