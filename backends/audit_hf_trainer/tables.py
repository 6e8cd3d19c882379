"""The tables of the configuration, from the installed libraries without keeping them in memory.

The process that guards a training waits for weeks; with torch it would take half a gigabyte for a list of names.
Another process asks the libraries, which takes seconds, so the answer is kept in the user's cache until they change.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from audit.plugin import AuditError

LARGEST = 4 << 20
"""Bytes of a kept answer that are read at most; a real one has some ten thousand."""
_SOURCES = {
    "transformers": ("training_args.py",),
    "peft": ("tuners/lora/config.py",),
    "audit_hf_trainer": ("settings.py", "training/fields.py"),
}
"""The modules that the answer comes from."""


def schema() -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of [model], [adapter] and [arguments]; see :mod:`audit_hf_trainer.training.fields`.

    Raises AuditError if the libraries are missing.
    """
    if "transformers" in sys.modules or int(os.environ.get("WORLD_SIZE", "1")) > 1:  # they are loaded in any case
        from audit_hf_trainer.training import fields

        return fields.schema()
    place = _place()
    kept = _kept(place)
    if kept is not None:
        return kept
    found = _asked()
    _keep(place, found)
    return found


def _asked() -> Mapping[str, Mapping[str, Any]]:
    asked = subprocess.run(
        [sys.executable, "-P", "-c", "from audit_hf_trainer.training.fields import main; main()"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(asked.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = next((line for line in reversed(asked.stderr.splitlines()) if line.strip()), f"code {asked.returncode}")
        raise AuditError(f"transformers and peft cannot be loaded: {said.strip()}") from error
    if "error" in answer:
        raise AuditError(answer["error"])
    found: Mapping[str, Mapping[str, Any]] = answer["schema"]
    return found


def _place() -> str | None:
    """The path of the kept answer of exactly these libraries, None if one is missing."""
    found = [sys.version]
    for name, sources in _SOURCES.items():
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return None
        for source in sources:
            path = os.path.join(os.path.dirname(spec.origin), source)
            try:
                known = os.stat(path)
            except OSError:
                return None
            found.append(f"{path} {known.st_size} {known.st_mtime_ns} {known.st_ino}")
    found.append(_version("trl"))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.sha256("\n".join(found).encode()).hexdigest()[:32]
    return os.path.join(cache, "checkpoint-audit", f"tables-{name}.json")


def _version(name: str) -> str:
    """The version of a library that may be missing."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def _kept(place: str | None) -> Mapping[str, Mapping[str, Any]] | None:
    if place is None:
        return None
    try:
        with open(place, "rb") as file:
            answer = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(answer, dict) and all(isinstance(table, dict) for table in answer.values())
    return answer if whole and {"model", "adapter", "arguments"} <= answer.keys() else None


def _keep(place: str | None, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the answer, whole or not at all; without a cache the next call asks again."""
    if place is None:
        return
    with suppress(OSError):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(place), delete=False, encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(file.name, place)
