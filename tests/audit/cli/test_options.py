"""The shared options: one row is one option, in the commands that it names, and it reaches Options."""

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from audit.cli import options as shared
from audit.cli.options import JUDGING, PROVING, SHARED, Shared, laid_over
from audit.findings import Severity
from audit.manager import load
from audit.options import Options
from tests.audit.cli.conftest import Ended, one_line

COMMANDS = (*JUDGING, *PROVING)
REGISTRY = load()
POSITIONAL = {
    "snapshot": ["run", "dest"],
    "merge": ["run", "out"],
    "prune": ["run", "--keep", "3"],
    "report": ["run", "-o", "page"],
}
GIVEN: dict[str, tuple[list[str], Any]] = {
    "fail_on": (["never"], None),
    "allow_empty": ([], True),
    "depth": (["quick"], "quick"),
    "select": (["optimizer,files/missing-optimizer"], ("optimizer", "files/missing-optimizer")),
    "ignore": (["security"], ("security",)),
    "jobs": (["3"], 3),
    "backend": (["hf-trainer"], "hf-trainer"),
    "ledger": ([], False),
    "cache": ([], False),
    "scrub": (["10%"], 0.1),
}
"""Words after the flag, and the value of the field that they make."""


def given(option: Shared) -> tuple[list[str], Any]:
    """The words and the value of an option; of one that is not in the table above, what its conversion makes."""
    if option.field in GIVEN:
        return GIVEN[option.field]
    if option.argument.get("action") == "store_true":
        return [], option.convert(True, Options())
    word = str(next(iter(option.argument.get("choices", ["3"]))))
    return [word], option.convert(option.argument.get("type", str)(word), Options())


def parsed(command: str, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    import_module(f"audit.cli.{command}").configure(parser)
    return parser.parse_args([*POSITIONAL.get(command, ["run"]), *words])


@pytest.mark.parametrize("option", SHARED, ids=lambda option: option.flag)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_reaches_its_field_from_every_command_it_is_given_to(
    monkeypatch: pytest.MonkeyPatch, command: str, option: Shared
) -> None:
    monkeypatch.setattr(shared, "SHARED", [item._replace(commands=COMMANDS) for item in SHARED])
    words, value = given(option)

    found = laid_over(Options(), parsed(command, option.flag, *words), REGISTRY)

    assert getattr(found, option.field) == value
    assert found == Options()._replace(**{option.field: value})


@pytest.mark.parametrize("option", SHARED, ids=lambda option: option.flag)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_an_option_keeps_the_default(
    monkeypatch: pytest.MonkeyPatch, command: str, option: Shared
) -> None:
    rows = [item._replace(commands=() if item is option else COMMANDS) for item in SHARED]
    monkeypatch.setattr(shared, "SHARED", rows)
    arguments = parsed(command)

    assert not hasattr(arguments, option.dest)
    assert laid_over(Options(), arguments, REGISTRY) == Options()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_is_not_given_leaves_the_configuration(command: str) -> None:
    configured = Options(
        depth="quick",
        ignore=("security",),
        fail_on=Severity.WARNING,
        jobs=2,
        allow_empty=True,
        ledger=False,
        cache=False,
    )
    assert laid_over(configured, parsed(command), REGISTRY) == configured


def test_ignored_rules_are_added_to_those_of_the_configuration() -> None:
    found = laid_over(Options(ignore=("security",)), parsed("verify", "--ignore", "loss, files"), REGISTRY)
    assert found.ignore == ("security", "loss", "files")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_the_options_that_name_it_and_no_other(command: str) -> None:
    for option in SHARED:
        if command in option.commands:
            assert hasattr(parsed(command), option.dest)
        else:
            with pytest.raises(SystemExit):
                parsed(command, option.flag, *given(option)[0])


def test_rules_that_are_selected_and_ignored_leave_nothing(audit: Callable[..., Ended], run: str) -> None:
    line = one_line(audit("verify", run, "--select", "loss", "--ignore", "loss"))
    assert "every selected rule is ignored" in line


def test_rules_of_plans_do_not_judge_checkpoints(audit: Callable[..., Ended], run: str) -> None:
    assert "use audit plan" in one_line(audit("verify", run, "--select", "plan"))
