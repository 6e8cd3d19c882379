"""Names that plugins bring: in the help, in completion, and never loaded for a command line alone."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from audit import manager
from audit.cli import COMMANDS
from audit.cli.parser import build
from audit.cli.registered import BACKENDS, FAMILIES, FORMATS, PAGES, RULES, names_of
from audit.hookspecs import hookimpl
from audit.reporters import plugin as reporters
from tests.audit.cli.conftest import Ended

Audit = Callable[..., Ended]


class Toml:
    @hookimpl
    def audit_reporters(self) -> dict[str, Any]:
        return {"toml": lambda reports, context: ""}

    @hookimpl
    def audit_pages(self) -> dict[str, Any]:
        return {"pdf": lambda runs: ""}


def option(audit: Audit, command: str, flag: str) -> str:
    """The paragraph of an option in a command's help, in one line."""
    text = audit(command, "--help").out.partition(f"\n  {flag} ")[2]
    return " ".join(text.partition("\n  -")[0].split())


@pytest.mark.parametrize(
    ("kind", "name"),
    [(FORMATS, "sarif"), (PAGES, "html"), (BACKENDS, "hf-trainer"), (RULES, "loss/jump"), (FAMILIES, "loss")],
)
def test_a_kind_has_its_names(kind: str, name: str) -> None:
    assert name in names_of(kind)


def test_the_help_lists_the_formats_of_plugins(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = manager._entry_points()
    monkeypatch.setitem(sys.modules, "team_formats", Toml())
    monkeypatch.setattr(manager, "_entry_points", lambda: installed | {("team", "team_formats")})

    names = [f"{name} (default)" if name == "console" else name for name in sorted((*reporters.FORMATS, "toml"))]
    assert option(audit, "verify", "--format").endswith(f"format: {', '.join(names)}")
    assert option(audit, "report", "--format").endswith("html (default), pdf")
    assert "hf-trainer" in option(audit, "prune", "--backend").replace("- ", "-")  # broken at the end of a line


def test_the_help_is_there_where_a_plugin_cannot_be_loaded(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "_entry_points", lambda: {("team", "no_such_module")})
    assert audit("verify", "--help").code == 0
    assert option(audit, "verify", "--format").endswith("a name that a plugin provides")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_placeholder_is_left_in_the_help(audit: Audit, command: str) -> None:
    assert "{names}" not in audit(command, "--help").out


def test_a_value_is_stored_and_its_name_judged_later() -> None:
    arguments = build(COMMANDS, {"verify"}).parse_args(["verify", "run", "--format", "unheard-of"])
    assert arguments.format == "unheard-of"
    assert arguments.backend is None


def test_no_plugin_is_loaded_for_the_version() -> None:
    code = (
        "import sys, atexit; from audit.cli import run; "
        "atexit.register(lambda: sys.stderr.write(repr({'audit.manager', 'pluggy'} & {*sys.modules}))); "
        "run(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()"
