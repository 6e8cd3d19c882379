"""``audit export RUN``: log history and checkpoints of a run as JSON or CSV."""

import argparse

from audit.cli.options import RUN_OR_CHECKPOINT, add_ledger, viewing
from audit.cli.parser import write
from audit.errors import AuditError
from audit.manager import load
from audit.views.export import as_json, checkpoints_csv, log_csv
from audit.views.inspection import inspect

EXAMPLES = (
    ("audit export current_model/ -o run.json", "checkpoints and the whole log as JSON"),
    ("audit export current_model/ --format csv -o log.csv", "the log, one row per entry"),
    ("audit export current_model/ --format csv --table checkpoints", "the checkpoints, one row per checkpoint"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN_OR_CHECKPOINT)
    parser.add_argument("--format", choices=("json", "csv"), default="json", help="output format (default: json)")
    parser.add_argument("--table", choices=("log", "checkpoints"), help="contents of the CSV file (default: log)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead of stdout")
    add_ledger(parser)


def call(arguments: argparse.Namespace) -> int:
    """Write what the files contain."""
    if arguments.table and arguments.format != "csv":
        raise AuditError("--table applies to CSV only: JSON contains both tables; remove it, or add --format csv")
    registry = load()
    found = inspect(arguments.run, viewing(arguments, registry), registry=registry)
    if arguments.format == "json":
        text = as_json(found)
    else:
        text = checkpoints_csv(found) if arguments.table == "checkpoints" else log_csv(found)
    write(text, arguments.output)
    return 0
