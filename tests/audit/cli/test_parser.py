"""What all commands share: one line for what cannot be done, whatever the place that they are called from."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


@pytest.mark.parametrize(
    "words", [("verify", "run"), ("guard", "run"), ("list", "run"), ("rules",), ("plan", "x.toml")]
)
def test_a_deleted_working_directory_is_said_in_one_line(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        ended = audit(*words)
    finally:
        os.chdir(tmp_path)

    assert "the working directory was deleted; change to one that exists" in one_line(ended)


def test_an_error_of_the_system_names_its_path(audit: Audit, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{run}/checkpoint-300")

    monkeypatch.setattr("audit.cli.history.locate", refuse)

    assert one_line(audit("history", run)) == f"audit history: {run}/checkpoint-300: Permission denied\n"


@pytest.mark.parametrize("words", [("prune", "--keep", "1"), ("seal",), ("quarantine", "checkpoint-300", "--force")])
def test_a_fifo_in_the_place_of_the_records_is_said_in_one_line(audit: Audit, run: str, words: tuple[str, ...]) -> None:
    os.mkfifo(f"{run}/.audit")

    ended = audit(words[0], run, *words[1:])

    assert f"{run}/.audit: is not a directory, so " in one_line(ended)


def test_the_command_itself_says_which_of_its_options_was_meant(audit: Callable[..., Ended]) -> None:
    line = one_line(audit("prune", "run", "--keep", "1", "--dry"))
    assert line == "audit prune: unrecognized arguments: --dry; did you mean '--dry-run'?; see audit prune --help\n"
    assert "did you mean" not in one_line(audit("guard", "run", "--dry"))
