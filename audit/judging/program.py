"""Which program judges: what is remembered of a judgement holds for the very same one."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from audit.manager import Registry
from audit.rules import Rule
from audit.version import __version__

CORE = ("backend", "facts", "formats", "judging", "ledger", "scan")
"""Folders of the core on which an outcome depends, beside the packages of the plugins."""


def program_of(registry: Registry) -> str | None:
    """Return a digest of the core and of all plugins, none of which is loaded for it.

    None if a plugin is in no file.
    """
    files = [(name, path) for name, path in registry.sources if path is not None]
    if len(files) < len(registry.sources):
        return None
    if registry.rules_given:  # by a program, which has loaded them
        files += [(f"{rule.id} {rule[2:]}", rule.function.__code__.co_filename) for rule in registry.rules]
    return _digest_of(tuple(sorted(files)))


def is_whole(registry: Registry, rules: Sequence[Rule]) -> bool:
    """Whether all these rules are in the packages of the plugins, so that :func:`program_of` sees their files."""
    homes = tuple(f"{os.path.dirname(path)}{os.sep}" for _, path in registry.sources if path is not None)
    return all(rule.function.__code__.co_filename.startswith(homes) for rule in rules)


@cache
def _digest_of(plugins: tuple[tuple[str, str], ...]) -> str:
    """Once in a process: what it runs are the files of its beginning."""
    import json

    from blake3 import blake3

    core = os.path.dirname(os.path.dirname(__file__))
    folders = [os.path.join(core, name) for name in CORE] + [
        os.path.dirname(path) for name, path in plugins if "/" not in name
    ]
    files = [file for folder in sorted(set(folders)) for file in _files(folder)]
    text = json.dumps([__version__, sys.version, plugins, files])
    return blake3(text.encode("ascii")).hexdigest(16)


def _files(folder: str) -> list[Any]:
    """The path of a folder, and name, size and time of every module in it; then the same of the folders below it.

    None in place of the modules if they cannot be listed.
    """
    modules: list[tuple[str, int, int]] = []
    below: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(".py"):
                    info = entry.stat()
                    modules.append((name, info.st_size, info.st_mtime_ns))
                elif not name.startswith(("_", ".")) and entry.is_dir():
                    below.append(entry.path)
    except OSError:
        return [folder, None]
    return [folder, sorted(modules), *(part for path in sorted(below) for part in _files(path))]
