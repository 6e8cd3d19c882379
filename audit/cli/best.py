"""``audit best RUN``: the best checkpoint by a logged metric, its path alone on stdout."""

import argparse
import json
import os
import sys

from audit.cli.options import configured
from audit.cli.parser import one_line, write
from audit.manager import load
from audit.text import plain
from audit.views.best import choose
from audit.views.inspection import inspect

EXAMPLES = (
    ("audit best current_model/", "by metric_for_best_model of the run, or by eval_loss"),
    ("audit best current_model/ --metric eval_accuracy", "by another metric that was logged"),
    ("audit best current_model/ --metric my_score --mode max", "by one whose name does not tell what is better"),
    ("audit best current_model/ --format json", "with the value of every checkpoint"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="output directory with checkpoint-N")
    parser.add_argument(
        "--metric", metavar="NAME", help="as it is logged (default: metric_for_best_model or eval_loss)"
    )
    parser.add_argument("--mode", choices=("min", "max"), help="which is better (default: as the run or the name says)")
    parser.add_argument("--format", choices=("console", "json"), default="console")


def call(arguments: argparse.Namespace) -> int:
    """Print the path alone on stdout, what was assumed and passed over on stderr; 1 where no checkpoint has a value."""
    registry = load()
    found = inspect(arguments.run, configured(registry), registry=registry)
    choice = choose(found, arguments.metric, arguments.mode)
    best = choice.best
    path = os.path.join(found.run.path, best.checkpoint) if best else None
    if arguments.format == "json":
        document = {"schema_version": 1, "path": path, **choice._asdict(), "best": best and best._asdict()}
        document["candidates"] = [item._asdict() for item in choice.candidates]
        write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n", None)
    elif path is not None:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # a name may be of any bytes: they are given as they are
    for note in choice.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    if best is None:
        print(
            f"none: {one_line(arguments.run)}: no checkpoint here has a value of {one_line(choice.metric)}",
            file=sys.stderr,
        )
        return 1
    print(f"{best.checkpoint}: {one_line(choice.metric)} {best.value:.6g} at step {best.at}", file=sys.stderr)
    return 0
