"""Arguments whose values are names that plugins bring: formats, backends, rules.

A command line is parsed without loading a plugin; help and completion load them to list the names.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from audit.errors import AuditError

FORMATS, PAGES, BACKENDS, RULES, FAMILIES = "formats", "pages", "backends", "rules", "families"


class Registered(argparse.Action):
    """Stores its value. ``of`` is the kind of names it takes; ``{names}`` in the help becomes a list of them."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, of: str, **options: Any) -> None:
        super().__init__(option_strings, dest, **options)
        self.of = of

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)


def fill_in(parser: argparse.ArgumentParser) -> None:
    """Put the names that are registered into the help of a parser's arguments."""
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to walk a parser
        if isinstance(action, Registered) and action.help:
            action.help = action.help.replace("{names}", _listed(action))


def _listed(action: Registered) -> str:
    try:
        names = names_of(action.of)
    except AuditError:
        return "a name that a plugin provides"  # the command itself says which plugin cannot be loaded
    return ", ".join(f"{name} (default)" if name == action.default else name for name in names)


def names_of(kind: str) -> list[str]:
    """Return the names of a kind that the installed plugins bring. Raises PluginError."""
    from audit.manager import load

    registry = load()
    found = {
        FORMATS: list(registry.reporters),
        PAGES: list(registry.pages),
        BACKENDS: [backend.name for backend in registry.backends],
        RULES: [rule.id for rule in registry.rules],
        FAMILIES: sorted({rule.family for rule in registry.rules}),
    }
    return found[kind]
