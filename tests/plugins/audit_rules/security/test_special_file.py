import os
import socket
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run

RULE = "security/special-file"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", (100, 200))


def test_a_fifo_in_place_of_a_file_blocks(run: str) -> None:
    os.remove(f"{run}/checkpoint-200/optimizer.pt")
    os.mkfifo(f"{run}/checkpoint-200/optimizer.pt")

    (finding,) = check(run, RULE)

    assert (finding.checkpoint, finding.file) == ("checkpoint-200", "optimizer.pt")
    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, True)


def test_a_socket_is_found(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(f"{run}/checkpoint-200")  # the path of a socket may have some 100 characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")

        assert [finding.file for finding in check(run, RULE)] == ["s"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("optimizer.pt", "which leads back to itself"),
        (".", "which leads back to itself"),
        ("gone.pt", "which does not exist"),
        ("sub", "a directory"),
    ],
)
def test_a_link_that_leads_to_no_file_is_found(run: str, target: str, words: str) -> None:
    Path(run, "checkpoint-200", "sub").mkdir()
    os.remove(f"{run}/checkpoint-200/optimizer.pt")
    os.symlink(target, f"{run}/checkpoint-200/optimizer.pt")

    (finding,) = check(run, RULE)

    assert words in finding.message


def test_two_links_in_a_circle_are_found(run: str) -> None:
    os.symlink("b", f"{run}/checkpoint-200/a")
    os.symlink("a", f"{run}/checkpoint-200/b")

    assert [finding.file for finding in check(run, RULE)] == ["a", "b"]


def test_a_link_to_a_file_of_the_same_checkpoint_is_right(run: str) -> None:
    os.symlink("optimizer.pt", f"{run}/checkpoint-200/optimizer-link.pt")

    assert outcome(run, RULE).outcome is Outcome.PASS


def test_a_checkpoint_that_is_a_fifo_or_a_link_to_nowhere_is_reported_against_the_run(run: str) -> None:
    os.mkfifo(f"{run}/checkpoint-300")
    os.symlink("gone", f"{run}/checkpoint-400")

    found = check(run, RULE)

    assert [(finding.checkpoint, finding.file) for finding in found] == [
        (None, "checkpoint-300"),
        (None, "checkpoint-400"),
    ]
    assert not any(finding.blocks_resume for finding in found)
