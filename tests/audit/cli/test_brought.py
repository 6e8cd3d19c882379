"""Commands of plugins: listed, completed, called like those of this package, and loaded for no other command."""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from audit import manager
from audit.cli import COMMANDS
from audit.cli.brought import merged
from audit.errors import AuditError, PluginError, RefusedError
from audit.hookspecs import Command, Terminal, hookimpl
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


class Team:
    @hookimpl
    def audit_commands(self) -> dict[str, Command]:
        return {"mail": Command("send a run by mail", "team_mail", "keep"), "odd": Command("do odd things", "no_such")}


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run")
    parser.add_argument("--how", choices=("slow", "fast"), default="slow", help="how")


def call(arguments: Namespace, terminal: Terminal) -> int:
    if arguments.run == "refused":
        raise RefusedError("refused: it is too large")
    if arguments.run == "impossible":
        raise AuditError("impossible: no such run")
    with terminal.progress(arguments.run, True) as advance:
        advance(1, 2)
    terminal.note("a note\x1b[1m of hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH")
    if arguments.how == "fast":
        terminal.document({"run": arguments.run})
    else:
        terminal.write(f"mailed  {arguments.run}\n")
    return 0


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin with two commands, one of which cannot be loaded."""
    installed = manager._entry_points()
    module: Any = SimpleNamespace(configure=configure, call=call, EXAMPLES=(("audit mail run/", "send it"),))
    monkeypatch.setitem(sys.modules, "team", Team())
    monkeypatch.setitem(sys.modules, "team_mail", module)
    monkeypatch.setattr(manager, "_entry_points", lambda: installed | {("team", "team")})


@pytest.mark.usefixtures("team")
def test_it_is_called_as_the_others_are(audit: Audit) -> None:
    mailed = audit("mail", "run")

    assert (mailed.code, mailed.out) == (0, "mailed  run\n")
    assert "\x1b" not in mailed.err
    assert "hf_a...\n" in mailed.err
    assert audit("mail", "run", "--how", "fast").out == '{\n  "schema_version": 1,\n  "run": "run"\n}\n'
    assert audit("mail", "refused") == Ended(1, "", "audit mail: refused: it is too large\n")
    assert one_line(audit("mail", "impossible")) == "audit mail: impossible: no such run\n"
    assert "did you mean '--how'" in one_line(audit("mail", "run", "--hwo", "fast"))


@pytest.mark.usefixtures("team")
def test_it_is_in_the_help_under_its_task_and_has_its_own(audit: Audit) -> None:
    lines = audit("--help").out.splitlines()

    names = [line.split()[0] for line in lines if line.startswith("    ")]
    assert names.index("prune") < names.index("mail") < names.index("rules")
    assert lines[lines.index("  learn:") + 1].split()[0] == "rules"
    assert audit("mail", "--help").out.endswith("examples:\n  audit mail run/\n      send it\n")


@pytest.mark.usefixtures("team")
def test_a_command_that_cannot_be_loaded_is_named_and_the_others_work(audit: Audit) -> None:
    assert "the command 'odd' (no_such) cannot be loaded" in one_line(audit("odd"))
    assert audit("mail", "run").code == 0
    assert "invalid choice: 'mial'" in one_line(audit("mial"))


def test_a_plugin_that_cannot_be_loaded_is_named_and_the_overview_is_there(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "_entry_points", lambda: {("team", "no_such_module")})

    assert "verify" in audit("--help").out
    assert "plugin 'team' (no_such_module) cannot be loaded" in one_line(audit("mail"))


def test_completion_offers_it_with_its_values(audit: Audit, monkeypatch: pytest.MonkeyPatch, team: None) -> None:
    assert team is None
    monkeypatch.setattr(Team, "audit_commands", hookimpl(lambda self: {"mail": Command("send a run", "team_mail")}))

    script = audit("--print-completion", "fish").out

    assert "-a mail -d 'send a run'" in script
    assert "-l how -x -a 'slow fast'" in script


def test_a_name_of_our_own_is_refused() -> None:
    with pytest.raises(PluginError, match="a command named 'verify'"):
        merged(COMMANDS, {"verify": Command("x", "y")})


def test_a_command_with_a_task_of_its_own_comes_last() -> None:
    assert list(merged(COMMANDS, {"mail": Command("x", "y", "post")}))[-1] == "mail"


def test_a_command_of_this_package_loads_no_plugin() -> None:
    code = (
        "import sys, atexit; from audit.cli import run; "
        "atexit.register(lambda: sys.stderr.write(repr({'audit.cli.brought'} & {*sys.modules}))); "
        "run(['list', 'nowhere'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.endswith("\nset()")
