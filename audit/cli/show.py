"""``audit show CHECKPOINT``: one checkpoint in detail."""

import argparse
import json

from audit.cli.parser import write
from audit.cli.table import table
from audit.errors import AuditError
from audit.manager import load
from audit.reporters.console import human_bytes
from audit.run import open_run
from audit.summary import details, overview


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint-N directory, or a run: its newest one")
    parser.add_argument("--format", choices=("console", "json"), default="console")


def call(arguments: argparse.Namespace) -> int:
    """Print what the files of one checkpoint say; nothing is judged (that is `audit verify`)."""
    run = open_run(arguments.checkpoint, load().backends, depth="quick")
    if not run.judged:
        raise AuditError(f"{arguments.checkpoint}: no checkpoint-N directory in it")
    checkpoint = run.judged[-1]
    facts = details(checkpoint)
    if arguments.format == "json":
        document = {"checkpoint": overview(checkpoint)._asdict(), **facts}
        write(json.dumps(document, indent=2, allow_nan=False, default=str) + "\n", None)
        return 0
    write(f"{run.path}/{checkpoint.name}\n\n", None)
    for title, values in facts.items():
        if not values:
            continue
        write(f"{title}\n", None)
        if title == "files":
            rows = [("  " + name, human_bytes(int(size)), "") for name, size in values.items()]
            write(table(None, rows), None)
        else:
            write(table(None, [("  " + name, value) for name, value in values.items()]), None)
        write("\n", None)
    return 0
