"""A backend without a trainer state recognises its checkpoints by their names."""

import re

import pytest

from audit.backend.stateless import Stateless
from audit.storage import DIRECTORY, FILE, LINK, Entry


class Named(Stateless):
    """Saves to ``save-N`` and ``epoch-N``."""

    pattern = re.compile(r"(save|epoch)-([0-9]{1,18})", re.ASCII)


class Counted(Stateless):
    """Saves to ``N``."""

    pattern = re.compile(r"([0-9]{1,18})", re.ASCII)


@pytest.mark.parametrize(
    ("name", "number"),
    [("save-7", 7), ("epoch-0012", 12), ("save-", None), ("save-7.tmp", None), ("a-save-7", None), ("save-٧", None)],
)
def test_the_number_is_the_last_group_of_the_whole_name(name: str, number: int | None) -> None:
    assert Named().checkpoint_step(name) == number


def test_a_pattern_may_have_one_group() -> None:
    assert Counted().checkpoint_step("31") == 31


@pytest.mark.parametrize(
    ("name", "kind", "recognised"),
    [("save-7", DIRECTORY, True), ("save-7", FILE, False), ("save-7", LINK, False), ("other-7", DIRECTORY, False)],
)
def test_a_run_has_a_directory_of_such_a_name(name: str, kind: str, recognised: bool) -> None:
    assert Named().recognises({name: Entry(name, kind, 0, 0, 0, 0)}) is recognised


def test_there_is_no_state_and_no_file_of_arguments() -> None:
    assert (Named.state_file, Named.arguments_file) == ("", "")
