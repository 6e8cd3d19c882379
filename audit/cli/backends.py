"""``audit backends``: the trainers that are understood."""

import argparse

from audit.manager import load

EXAMPLES = (("audit backends", "name and title of each"),)


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def call(arguments: argparse.Namespace) -> int:
    """Print name and title of every backend."""
    backends = load().backends
    width = max((len(backend.name) for backend in backends), default=0)
    for backend in backends:
        print(f"{backend.name:<{width}}  {backend.title}")
    return 0
