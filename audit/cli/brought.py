"""Commands that plugins bring (the hook ``audit_commands``), beside those of this package.

A command of this package is run without a plugin being loaded; help, completion and any other name load them.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from audit.cli.documents import write_document
from audit.cli.parser import GROUPS, complain, one_line, write
from audit.cli.progress import Progress
from audit.errors import PluginError, RefusedError
from audit.hookspecs import Command, Terminal


class Console:
    """What a command of a plugin prints with, as :class:`audit.plugin.Terminal` says."""

    def write(self, text: str) -> None:
        write(text, None)

    def note(self, text: str) -> None:
        print(f"note: {one_line(text)}", file=sys.stderr)

    def document(self, fields: Mapping[str, Any]) -> None:
        write_document(fields)

    @contextmanager
    def progress(self, run: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
        with Progress(run, quiet=quiet) as bar:
            yield bar.advance


def merged(own: Mapping[str, str], brought: Mapping[str, Command]) -> dict[str, str]:
    """Return the help of all commands by name; one that was brought follows the own ones of its task."""
    for name in brought:
        if name in own:
            raise PluginError(f"a plugin provides a command named '{name}', which audit has itself; uninstall it")
    found: dict[str, str] = {}
    task = ""
    for name, text in own.items():
        if name in GROUPS:
            found.update(_of_task(brought, task))
            task = GROUPS[name]
        found[name] = text
    found.update(_of_task(brought, task))
    return found | {name: command.help for name, command in brought.items() if name not in found}


def _of_task(brought: Mapping[str, Command], task: str) -> dict[str, str]:
    return {name: command.help for name, command in brought.items() if command.task == task}


def with_plugins(own: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the help of every command by name, and the modules of those that plugins bring.

    A module is imported when its command is wanted. Raises PluginError.
    """
    from audit.manager import load

    brought = load().commands
    return merged(own, brought), {name: _Late(name, command) for name, command in brought.items()}


class _Late:
    """The module of a plugin's command, with a ``call`` like those of this package; imported when it is looked at."""

    def __init__(self, name: str, command: Command) -> None:
        self._name, self._command = name, command

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = import_module(self._command.module)
            parts = {"configure": module.configure, "call": partial(_call, self._name, module.call)}
            return {**parts, "EXAMPLES": getattr(module, "EXAMPLES", ())}[attribute]
        except Exception as error:
            raise PluginError(
                f"the command '{self._name}' ({self._command.module}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error


def _call(name: str, call: Callable[[argparse.Namespace, Terminal], int], arguments: argparse.Namespace) -> int:
    """Call a plugin's command; what it refuses is one line and exit code 1."""
    terminal = Console()
    try:
        return call(arguments, terminal)
    except RefusedError as error:
        complain(name, error)
        return 1
