"""``audit list RUN``: table of a run's checkpoints."""

import argparse

from audit.cli.documents import add_format, write_document
from audit.cli.options import RUN, add_ledger, viewing
from audit.cli.parser import write
from audit.cli.table import table
from audit.judging.standing import REHEARSED
from audit.manager import load
from audit.report import in_words
from audit.text import human_bytes, minute
from audit.views.inspection import inspect

EXAMPLES = (
    ("audit list current_model/", "step, loss, learning rate, size, date and state of each checkpoint, and the total"),
    ("audit list current_model/ --format json", "the same as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN)
    add_ledger(parser)
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print what the files contain, and the state as far as it shows without reading weights."""
    registry = load()
    found = inspect(arguments.run, viewing(arguments, registry), registry=registry)
    rows = [found.overview(checkpoint) for checkpoint in found.run.judged]
    if arguments.format == "json":
        write_document({"run": found.run.path, "checkpoints": [row._asdict() for row in rows]})
        return 0
    heads = ("CHECKPOINT", "STEP", "EPOCH", "LOSS", "LR", "KIND", "FILES", "SIZE", "SAVED (UTC)", "STATE", "")
    cells = [
        (
            row.name,
            row.global_step,
            row.epoch if row.run_epoch is None else row.run_epoch,
            row.loss,
            row.learning_rate,
            row.kind,
            row.files,
            human_bytes(row.bytes),
            row.saved and minute(row.saved),
            in_words(row.state, row.by_structure),
            "; ".join(filter(None, (row.remark, REHEARSED[row.rehearsed], row.reason))),
        )
        for row in rows
    ]
    total = f"{len(rows)} checkpoint{'s' if len(rows) > 1 else ''}, {human_bytes(sum(row.bytes for row in rows))}"
    write(table(heads, cells, drop=("FILES", "STEP", "KIND", "LR", "EPOCH", "SIZE")) + total + "\n", None)
    return 0
