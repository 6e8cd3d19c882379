"""Help: every command has examples, and they are lines that the program takes."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from audit.cli import COMMANDS
from audit.cli.brought import with_plugins
from audit.cli.parser import build
from audit.cli.registered import fill_in
from tests.audit.cli.conftest import Ended

Audit = Callable[..., Ended]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_a_command_is_taken(command: str) -> None:
    examples = import_module(f"audit.cli.{command}").EXAMPLES

    assert command in [line.split()[1] for line, _ in examples]
    for line, meaning in examples:
        program, *arguments = shlex.split(line)
        assert program == "audit"
        assert build(COMMANDS, {arguments[0]}).parse_args(arguments).command == arguments[0]
        assert meaning


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_ends_with_its_examples(audit: Audit, command: str) -> None:
    ended = audit(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    shown = ended.out.partition("\nexamples:\n")[2]
    assert re.findall(r"^  (audit .*)$", shown, re.MULTILINE) == [
        line for line, _ in import_module(f"audit.cli.{command}").EXAMPLES
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_a_command_is_explained_or_speaks_for_itself(command: str) -> None:
    subparsers = next(
        action for action in build(COMMANDS, {command})._actions if isinstance(action, argparse._SubParsersAction)
    )
    silent = [
        action.dest
        for action in subparsers.choices[command]._actions
        if not action.help and not action.choices and action.dest not in ("runs", "backend")
    ]
    assert silent == []


def options_with_values() -> Iterator[tuple[str, argparse.ArgumentParser, argparse.Action]]:
    """Every option that takes a value, of every command, those of plugins and of actions within a command, too."""
    named, modules = with_plugins(COMMANDS)

    def walk(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, Any]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    yield from walk(f"{words} {name}", inner)
            elif action.option_strings and action.nargs != 0:
                yield f"{words} {action.option_strings[-1]}", parser, action

    parser = build(named, named, modules)
    for known in next(
        item.choices.values() for item in parser._actions if isinstance(item, argparse._SubParsersAction)
    ):
        fill_in(known)
    yield from walk("audit", parser)


def defaults_of(action: argparse.Action) -> list[str]:
    """The default as one would type it: what argparse has, and the number or choice that the help shows."""
    found = [f"{action.default:g}"] if isinstance(action.default, float) else []
    found += (
        [str(action.default)] if isinstance(action.default, int | str) and action.default != argparse.SUPPRESS else []
    )
    shown = re.search(r"\(default: ([^ ,;)]+)", action.help or "")
    if shown is not None and (shown[1] in (action.choices or ()) or (action.type and shown[1][0].isdigit())):
        found.append(shown[1])
    return found


def test_every_default_that_is_shown_can_be_typed() -> None:
    seen, refused = [], []
    for words, parser, action in options_with_values():
        for text in defaults_of(action):
            seen.append(words)
            try:
                value = parser._get_values(action, [text])
            except argparse.ArgumentError as error:
                refused.append(f"{words} {text}: {error}")
                continue
            if action.default is not None:
                assert value == action.default, words

    assert refused == []
    assert {"audit hub push --wait", "audit hub push --deadline", "audit guard --max-age"} <= {*seen}


def test_the_commands_are_grouped_by_task(audit: Audit) -> None:
    lines = audit("--help").out.splitlines()
    headings = [line.strip() for line in lines if re.fullmatch(r"  [a-z]+:", line)]
    assert headings == ["check:", "resume:", "train:", "look:", "keep:", "learn:"]
    assert "None" not in "".join(lines)
    assert lines[lines.index("  resume:") + 1].split()[0] == "guard"


def test_the_help_names_every_command(audit: Audit) -> None:
    ended = audit("--help")
    assert ended.code == 0
    assert set(re.findall(r"^    ([a-z]+) ", ended.out, re.MULTILINE)) == set(with_plugins(COMMANDS)[0])


def test_without_a_command_there_is_help_and_no_success(audit: Audit) -> None:
    assert audit().code == 2
    assert "usage: audit" in audit().out


@pytest.mark.parametrize("columns", ["60", "100", "200"])
def test_the_help_is_as_wide_as_the_terminal(audit: Audit, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    usage = audit("verify", "--help").out.partition("\n\n")[0]
    assert int(columns) - 30 < max(map(len, usage.splitlines())) <= int(columns)


def test_a_verification_imports_none_of_the_modules_that_cost_more_than_what_they_are_for(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage imports them
    slow = "{'configparser', 'dataclasses', 'importlib.metadata', 'shutil', 'urllib.parse'}"
    code = (
        f"import sys; from audit.cli import run; run(['verify', '-q', sys.argv[1]]); print({slow} & {{*sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True, check=True)
    assert done.stdout == f"{run}: SOUND  (3 checkpoints)\nset()\n"


@pytest.mark.parametrize("columns", ["", "0", "wide", "²"])
def test_a_width_that_means_nothing_is_80(audit: Audit, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, audit("--help").out.splitlines())) in range(70, 81)


BEHIND = "scheme://bucket/run"
MORE = {"snapshot": ["dest"], "merge": ["out"], "prune": ["--keep", "3"]}


URLS = ("verify", "report", "guard", "list", "best", "export", "seal")
LOCAL = ("rehearse", "quarantine", "snapshot", "merge", "prune", "watch", "history")


@pytest.mark.parametrize("command", [*URLS, *LOCAL])
def test_the_help_says_of_a_run_that_it_may_be_a_url_where_it_may(audit: Audit, command: str) -> None:
    said = audit(command, BEHIND, *MORE.get(command, [])).err
    reason = "no storage is known for scheme://" if command in URLS else f"{BEHIND}: is not on this machine"

    assert reason in said
    assert (command in URLS) == ("its URL" in " ".join(audit(command, "--help").out.split()))
