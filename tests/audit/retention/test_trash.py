"""The trash: where something goes, and that it is emptied without leaving it."""

import os
from pathlib import Path

import pytest

from audit.audit_dir import TRASH
from audit.errors import AuditError
from audit.retention.trash import empty, place_for


def test_a_second_one_of_the_same_name_gets_a_place_of_its_own(tmp_path: Path) -> None:
    run = str(tmp_path)
    first = place_for(run, "checkpoint-1")
    os.mkdir(first)
    second = place_for(run, "checkpoint-1")
    os.mkdir(second)

    assert (first, second) == (f"{run}/{TRASH}/checkpoint-1", f"{run}/{TRASH}/checkpoint-1.1")
    assert empty(run) == 2
    assert not os.path.lexists(os.path.join(run, TRASH))


def test_an_empty_or_absent_trash_holds_nothing(tmp_path: Path) -> None:
    assert empty(str(tmp_path)) == 0
    place_for(str(tmp_path), "checkpoint-1")
    assert empty(str(tmp_path)) == 0


def test_a_checkpoint_that_became_the_trash_is_one(tmp_path: Path) -> None:
    (tmp_path / TRASH / "deep").mkdir(parents=True)
    (tmp_path / TRASH / "optimizer.pt").write_text("x")
    assert empty(str(tmp_path)) == 1


def test_links_in_the_trash_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    (tmp_path / TRASH).mkdir(parents=True)
    (tmp_path / TRASH / "checkpoint-1").symlink_to(tmp_path / "precious")

    assert empty(str(tmp_path)) == 1
    assert (tmp_path / "precious" / "file").read_text() == "keep"


@pytest.mark.parametrize("place", [".audit", TRASH])
def test_a_link_in_its_place_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "precious" / "trash").mkdir(parents=True)
    (tmp_path / "run" / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / place).symlink_to(tmp_path / "precious")

    for function in (lambda run: place_for(run, "checkpoint-1"), empty):
        with pytest.raises(AuditError, match="is a link"):
            function(str(tmp_path / "run"))
    assert (tmp_path / "precious" / "trash").is_dir()
