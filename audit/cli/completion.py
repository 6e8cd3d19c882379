"""The script behind ``audit --print-completion``: commands, options and their values."""

import argparse
from typing import Any

from audit.cli.registered import Registered, fill_in, names_of

DIRECTORIES = frozenset({"RUN", "CHECKPOINT", "A", "B", "DIR", "DEST"})
FILES = frozenset({"FILE", "PEM", "CONFIG"})
"""By metavar: what a shell completes from the file system."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a shell for a parser whose commands all know their arguments."""
    import shtab

    _name_choices(parser, shtab)
    if shell == "fish":
        from audit.cli.fish import fish

        return fish(parser, DIRECTORIES, FILES)
    return str(shtab.complete(parser, shell=shell))


def _name_choices(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Tell shtab what each argument is; the parser is thrown away afterwards."""
    fill_in(parser)
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to walk a parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _name_choices(command, shtab)
        elif isinstance(action, Registered):
            action.choices = names_of(action.of)
        elif action.metavar in DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
