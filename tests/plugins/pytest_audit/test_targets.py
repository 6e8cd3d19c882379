"""What may stand after ``--audit``."""

from pathlib import Path

import pytest

from audit.errors import AuditError
from pytest_audit.targets import Target, targets_of


@pytest.fixture
def run(tmp_path: Path) -> str:
    for step in (100, 200):
        (tmp_path / "runs" / "model" / f"checkpoint-{step}").mkdir(parents=True)
    return str(tmp_path / "runs" / "model")


def target(run: str, *words: str) -> Target:
    (found,) = targets_of(words, str(Path(run).parent), str(Path(run).parents[1]))
    return found


def test_a_run_is_judged_whole(run: str) -> None:
    found = target(run, "model/")

    assert (found.root, found.path, found.id) == (run, run, "runs/model")
    assert found.holds(None, "loss/jump")
    assert found.holds("checkpoint-100", "files/leftover")


def test_one_checkpoint_is_judged_with_the_rules_about_its_run(run: str) -> None:
    found = target(run, "model/checkpoint-100")

    assert found.path == f"{run}/checkpoint-100"
    assert found.holds("checkpoint-100", "files/unreadable")
    assert found.holds(None, "loss/jump")
    assert not found.holds("checkpoint-200", "files/unreadable")


def test_an_id_is_one_item_and_no_other(run: str) -> None:
    found = target(run, "model/checkpoint-100::files/unreadable")

    assert found.holds("checkpoint-100", "files/unreadable")
    assert not found.holds("checkpoint-100", "files/placeholder")
    assert not found.holds(None, "files/unreadable")


def test_several_parts_of_one_run_are_one_target(run: str) -> None:
    found = target(run, "model/checkpoint-100", "model/checkpoint-200::files/unreadable", "model/../model::loss/jump")

    assert found.path == run
    assert found.holds("checkpoint-100", "weights/hollow")
    assert found.holds("checkpoint-200", "files/unreadable")
    assert not found.holds("checkpoint-200", "weights/hollow")


def test_a_path_with_colons_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a::b" / "checkpoint-1").mkdir(parents=True)

    (found,) = targets_of(["a::b"], str(tmp_path), str(tmp_path))

    assert found.root == str(tmp_path / "a::b")


def test_a_run_that_is_not_there_is_refused(run: str) -> None:
    with pytest.raises(AuditError, match="no such run"):
        target(run, "other")
