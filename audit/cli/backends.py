"""``audit backends``: the trainers there are, and what each can do."""

import argparse

from audit.manager import load

EXAMPLES = (("audit backends", "name and title of each backend, and whether it reads checkpoints, trains, or both"),)


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def call(arguments: argparse.Namespace) -> int:
    """Print name, abilities and title of every backend."""
    registry = load()
    titles = {backend.name: backend.title for backend in registry.trainers}
    titles |= {backend.name: backend.title for backend in registry.backends}
    readers = {backend.name for backend in registry.backends}
    trainers = {backend.name for backend in registry.trainers}
    rows = [
        (name, " and ".join(["reads checkpoints"] * (name in readers) + ["trains"] * (name in trainers)), titles[name])
        for name in sorted(titles)
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for name, abilities, title in rows:
        print(f"{name:<{widths[0]}}  {abilities:<{widths[1]}}  {title}")
    return 0
