"""The script behind ``audit --print-completion``: commands, options, and what may stand in their place."""

import argparse
from typing import Any

DIRECTORIES = frozenset({"RUN", "CHECKPOINT", "A", "B", "DIR"})
FILES = frozenset({"FILE", "PEM", "CONFIG"})
"""By metavar: what a shell completes from the file system."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a shell for a parser whose commands all know their arguments."""
    import shtab

    _name_choices(parser, shtab)
    return str(shtab.complete(parser, shell=shell))


def _name_choices(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Say of each argument what it is; only the script sees that, the parser is thrown away."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to walk a parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _name_choices(command, shtab)
        elif action.metavar in DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest in ("rule", "family", "backend") and action.choices is None:
            action.choices = _known(action.dest)
        elif action.dest == "format" and action.choices is None:
            action.choices = _known("page" if action.default == "html" else action.dest)


def _known(kind: str) -> list[str]:
    from audit.manager import load

    registry = load()
    if kind == "backend":
        return [backend.name for backend in registry.backends]
    if kind == "format":
        return list(registry.reporters)
    if kind == "page":
        return list(registry.pages)
    if kind == "family":
        return sorted({rule.family for rule in registry.rules})
    return [rule.id for rule in registry.rules]
