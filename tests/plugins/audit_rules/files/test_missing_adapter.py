"""files/missing-adapter."""

import shutil
from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, make_run
from tests.plugins.audit_rules.files.editing import ADAPTER, Locked, add_adapter, judged, names, remove

RULE = "files/missing-adapter"


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = make_run(tmp_path / "run")
    add_adapter(path, "second")
    return path


def test_an_adapter_that_the_other_checkpoints_have_is_missed(run: str) -> None:
    shutil.rmtree(f"{run}/checkpoint-200/second")
    (finding,) = check(run, RULE)
    assert (finding.checkpoint, finding.file) == ("checkpoint-200", "second")
    assert finding.blocks_resume
    assert finding.message == "the adapter in second/ is not there; other checkpoints of the same session have it"


def test_an_empty_directory_is_no_adapter(run: str) -> None:
    remove(run, f"second/{ADAPTER}", "second/adapter_config.json")
    assert names(judged(run)) == [(RULE, "checkpoint-200", "second")]


def test_the_adapter_of_the_checkpoint_itself_is_missed(run: str) -> None:
    remove(run, ADAPTER, "adapter_config.json")
    (finding,) = check(run, RULE)
    assert "the adapter in the checkpoint itself is not there" in finding.message


def test_checkpoints_with_the_same_adapters_pass(run: str) -> None:
    assert not judged(run)


def test_another_session_may_train_another_set_of_adapters(run: str) -> None:
    shutil.rmtree(f"{run}/checkpoint-300/second")
    edit_arguments(f"{run}/checkpoint-300", learning_rate=5e-6)
    assert not check(run, RULE)


def test_without_training_arguments_nobody_knows_the_session(run: str) -> None:
    shutil.rmtree(f"{run}/checkpoint-200/second")
    remove(run, "training_args.bin")
    assert outcome(run, RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE


def test_a_directory_that_cannot_be_listed_is_not_missing(run: str) -> None:
    storage = Locked(run, "checkpoint-200/second")
    assert names(judged(run, storage)) == [("files/unreadable", "checkpoint-200", "second")]


def test_another_adapter_is_missed_beside_one_that_cannot_be_listed(run: str) -> None:
    add_adapter(run, "third", (100, 300))
    storage = Locked(run, "checkpoint-200/second")
    assert (RULE, "checkpoint-200", "third") in names(judged(run, storage))


def test_an_adapter_that_only_the_newest_checkpoint_has_is_not_missed_in_the_others(run: str) -> None:
    shutil.copytree(f"{run}/checkpoint-300/second", f"{run}/checkpoint-300/third")
    assert not check(run, RULE)


def test_a_renamed_adapter_is_missed_where_it_was_renamed_only(run: str) -> None:
    Path(run, "checkpoint-300/second").rename(Path(run, "checkpoint-300/Second"))
    assert [(finding.checkpoint, finding.file) for finding in check(run, RULE)] == [("checkpoint-300", "second")]


def test_a_checkpoint_inside_a_checkpoint_is_no_adapter(run: str) -> None:
    shutil.move(f"{run}/checkpoint-300", f"{run}/checkpoint-100/checkpoint-300")
    assert not check(run, RULE)
