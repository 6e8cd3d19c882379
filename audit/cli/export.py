"""``audit export RUN``: log history and checkpoints of a run as JSON or CSV."""

import argparse

from audit.cli.options import configured
from audit.cli.parser import write
from audit.errors import AuditError
from audit.manager import load
from audit.views.export import as_json, checkpoints_csv, log_csv
from audit.views.inspection import inspect

EXAMPLES = (
    ("audit export current_model/ -o run.json", "checkpoints and the whole log as JSON"),
    ("audit export current_model/ --format csv -o log.csv", "the log, one row for each entry"),
    ("audit export current_model/ --format csv --table checkpoints", "the checkpoints, one row each"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="output directory with checkpoint-N, or one checkpoint-N")
    parser.add_argument("--format", choices=("json", "csv"), default="json")
    parser.add_argument("--table", choices=("log", "checkpoints"), help="what a CSV file holds (default: log)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")


def call(arguments: argparse.Namespace) -> int:
    """Write what the files say."""
    if arguments.table and arguments.format != "csv":
        raise AuditError("--table chooses what a CSV file holds; JSON holds both, so leave it out or add --format csv")
    registry = load()
    found = inspect(arguments.run, configured(registry), registry=registry)
    if arguments.format == "json":
        text = as_json(found)
    else:
        text = checkpoints_csv(found) if arguments.table == "checkpoints" else log_csv(found)
    write(text, arguments.output)
    return 0
