"""``audit backends``: the trainers there are, and what each can do."""

import argparse

from audit.cli.documents import add_format, write_document
from audit.cli.parser import write
from audit.cli.table import table
from audit.manager import load

EXAMPLES = (
    ("audit backends", "name and title of each backend, and whether it reads checkpoints, trains, or both"),
    ("audit backends --format json", "the same as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print name, abilities and title of every backend."""
    registry = load()
    readers = {backend.name: backend.title for backend in registry.backends}
    trainers = {backend.name: backend.title for backend in registry.trainers}
    titles = trainers | readers
    if arguments.format == "json":
        found = [
            {"name": name, "title": titles[name], "reads": name in readers, "trains": name in trainers}
            for name in sorted(titles)
        ]
        write_document({"backends": found})
        return 0
    rows = [
        (name, " and ".join(["reads checkpoints"] * (name in readers) + ["trains"] * (name in trainers)), titles[name])
        for name in sorted(titles)
    ]
    write(table(None, rows), None)
    return 0
