"""``audit best RUN``: the best checkpoint by a logged metric, its path alone on stdout."""

import argparse
import os
import sys

from audit.cli.documents import add_format, write_document
from audit.cli.options import RUN, add_ledger, viewing
from audit.cli.parser import one_line
from audit.manager import load
from audit.views.best import choose
from audit.views.inspection import inspect

EXAMPLES = (
    ("audit best current_model/", "by metric_for_best_model of the run, or by eval_loss"),
    ("audit best current_model/ --metric eval_accuracy", "by another logged metric"),
    ("audit best current_model/ --metric my_score --mode max", "by a metric whose name does not tell which is better"),
    ("audit best current_model/ --format json", "with the value at every checkpoint, as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN)
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="name of the metric in the log (default: metric_for_best_model of the run, else eval_loss)",
    )
    parser.add_argument(
        "--mode",
        choices=("min", "max"),
        help="whether the lowest or the highest value is best (default: as the run or the metric's name says)",
    )
    add_ledger(parser)
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print the path alone on stdout, what was assumed and skipped on stderr; 1 if no checkpoint has a value."""
    registry = load()
    found = inspect(arguments.run, viewing(arguments, registry), registry=registry)
    choice = choose(found, arguments.metric, arguments.mode)
    best = choice.best
    path = os.path.join(found.run.path, best.checkpoint) if best else None
    if arguments.format == "json":
        document = {"path": path, **choice._asdict(), "best": best and best._asdict()}
        document["candidates"] = [item._asdict() for item in choice.candidates]
        write_document(document)
    elif path is not None:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # a name may contain any bytes
    for note in choice.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    if best is None:
        print(
            f"none: {one_line(arguments.run)}: no checkpoint has a value for {one_line(choice.metric)}",
            file=sys.stderr,
        )
        return 1
    print(f"{best.checkpoint}: {one_line(choice.metric)} {best.value:.6g} at step {best.at}", file=sys.stderr)
    return 0
