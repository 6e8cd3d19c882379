"""What is remembered holds for the program that judged."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from audit.hookspecs import hookimpl
from audit.judging import program
from audit.judging.program import is_whole, program_of
from audit.manager import load
from audit.plugin import Checkpoint, Severity, Violation, rule


@pytest.fixture
def plugin(tmp_path: Path) -> ModuleType:
    """A plugin module in a package of its own, with a helper in a folder below."""
    (tmp_path / "rules_of_ours" / "family").mkdir(parents=True)
    (tmp_path / "rules_of_ours" / "plugin.py").write_text("")
    (tmp_path / "rules_of_ours" / "family" / "helper.py").write_text("LIMIT = 1")
    module = ModuleType("rules_of_ours.plugin")
    module.__file__ = str(tmp_path / "rules_of_ours" / "plugin.py")
    return module


def asked_anew(plugin: ModuleType) -> str | None:
    program._digest_of.cache_clear()
    return program_of(load([plugin]))


def test_a_change_anywhere_in_a_plugin_is_another_program(plugin: ModuleType) -> None:
    before = asked_anew(plugin)
    assert before is not None
    assert asked_anew(plugin) == before

    helper = Path(str(plugin.__file__)).parent / "family" / "helper.py"
    os.utime(helper, ns=(0, helper.stat().st_mtime_ns + 1))

    assert asked_anew(plugin) not in (None, before)
    assert program_of(load()) not in (None, before)


def test_a_process_keeps_the_program_that_it_began_with(plugin: ModuleType) -> None:
    registry = load([plugin])
    before = program_of(registry)
    helper = Path(str(plugin.__file__)).parent / "family" / "helper.py"
    helper.write_text("LIMIT = 22")

    assert program_of(registry) == before


def test_rules_of_a_program_of_ones_own_are_told_apart(tmp_path: Path) -> None:
    @rule(Severity.INFO, remedy="None.", id="x/y")
    def mine(checkpoint: Checkpoint) -> Iterator[Violation]:
        yield from ()

    class Own:
        @hookimpl
        def audit_rules(self) -> object:
            return [mine]

    installed, own = load(), load([Own()])
    programs = {program_of(item) for item in (installed, own, installed.with_rules([mine]))}
    assert None not in programs
    assert len(programs) == 3
    assert is_whole(installed, installed.rules)
    assert is_whole(own, own.rules)
    assert not is_whole(installed, [mine])


def test_a_plugin_in_no_file_leaves_nothing_to_rely_on() -> None:
    assert program_of(load([ModuleType("made_up")])) is None
