"""``audit list RUN``: table of a run's checkpoints."""

import argparse
import json

from audit.cli.parser import write
from audit.cli.table import table
from audit.errors import AuditError
from audit.manager import load
from audit.reporters.console import human_bytes
from audit.run import open_run
from audit.summary import overview


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="output directory with checkpoint-N")
    parser.add_argument("--format", choices=("console", "json"), default="console")


def call(arguments: argparse.Namespace) -> int:
    """Print what the files say; nothing is judged (that is `audit verify`)."""
    run = open_run(arguments.run, load().backends, depth="quick")
    if not run.judged:
        raise AuditError(f"{arguments.run}: no checkpoint-N directory in it")
    rows = [overview(checkpoint) for checkpoint in run.judged]
    if arguments.format == "json":
        write(json.dumps([row._asdict() for row in rows], indent=2, allow_nan=False, default=str) + "\n", None)
        return 0
    heads = ("CHECKPOINT", "STEP", "EPOCH", "LOSS", "LR", "KIND", "FILES", "SIZE", "SAVED", "")
    cells = [
        (
            row.name,
            row.global_step,
            row.epoch,
            row.loss,
            row.learning_rate,
            row.kind,
            row.files,
            human_bytes(row.bytes),
            row.saved,
            row.remark,
        )
        for row in rows
    ]
    write(table(heads, cells), None)
    return 0
