"""files/incomplete-checkpoint: torn saves, saves that still go on, and the sentinel of a save at a signal."""

import os
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import POINTER, judged, names, remove

RULE = "files/incomplete-checkpoint"
SENTINEL = "checkpoint-is-incomplete.txt"
NOW = 1_800_000_000
SECOND = 1_000_000_000


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run whose files are all an hour old at NOW."""
    path = make_run(tmp_path / "run")
    for place in Path(path).rglob("*"):
        age(place, 3600)
    return path


def age(path: Path, seconds: float) -> None:
    os.utime(path, ns=(int((NOW - seconds) * SECOND),) * 2)


def test_a_directory_without_trainer_state_was_cut_off(run: str) -> None:
    remove(run, "trainer_state.json", checkpoint="checkpoint-300")
    (finding,) = judged(run, now_ns=NOW * SECOND)
    assert (finding.rule, finding.checkpoint, finding.severity) == (RULE, "checkpoint-300", Severity.ERROR)
    assert "trainer_state.json, which the trainer writes last, is not there" in finding.message
    assert finding.blocks_resume


def test_one_finding_stands_for_the_whole_directory(run: str) -> None:
    remove(run, "trainer_state.json", "optimizer.pt", "rng_state.pth", "adapter_config.json")
    assert names(judged(run, now_ns=NOW * SECOND)) == [(RULE, "checkpoint-200", None)]


@pytest.mark.parametrize(("seconds", "severity"), [(59, Severity.INFO), (61, Severity.ERROR)])
def test_a_save_may_go_on_while_a_file_is_younger_than_the_settle_time(
    run: str, seconds: int, severity: Severity
) -> None:
    remove(run, "trainer_state.json", checkpoint="checkpoint-300")
    age(Path(run, "checkpoint-300", "optimizer.pt"), seconds)
    (finding,) = judged(run, now_ns=NOW * SECOND)
    assert finding.severity is severity
    assert finding.blocks_resume
    assert ("being written right now" in finding.message) is (severity is Severity.INFO)


def test_the_settle_time_can_be_set(run: str) -> None:
    remove(run, "trainer_state.json", checkpoint="checkpoint-300")
    age(Path(run, "checkpoint-300", "optimizer.pt"), 10)
    (finding,) = judged(run, now_ns=NOW * SECOND, settle_seconds=5)
    assert finding.severity is Severity.ERROR


def test_a_directory_that_was_touched_by_deleting_is_no_save_in_progress(run: str) -> None:
    remove(run, "trainer_state.json", checkpoint="checkpoint-300")
    second = Path(run, "checkpoint-300", "second")
    second.mkdir()
    for touched in (second, second.parent):
        age(touched, 1)
    (finding,) = judged(run, now_ns=NOW * SECOND)
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(("seconds", "severity"), [(1, Severity.INFO), (3600, Severity.ERROR)])
def test_an_empty_directory_is_a_save_that_just_began_or_was_killed(run: str, seconds: int, severity: Severity) -> None:
    empty = Path(run, "checkpoint-400")
    empty.mkdir()
    age(empty, seconds)
    (finding,) = judged(run, now_ns=NOW * SECOND)
    assert (finding.checkpoint, finding.severity) == ("checkpoint-400", severity)


def test_the_sentinel_of_a_save_at_a_signal_marks_a_torn_checkpoint(run: str) -> None:
    sentinel = Path(run, "checkpoint-300", SENTINEL)
    sentinel.write_text("")
    age(sentinel, 3700)
    (finding,) = judged(run, now_ns=NOW * SECOND)
    assert (finding.checkpoint, finding.severity) == ("checkpoint-300", Severity.ERROR)
    assert f"{SENTINEL} is there" in finding.message


def test_a_young_sentinel_is_a_save_in_progress(run: str) -> None:
    sentinel = Path(run, "checkpoint-300", SENTINEL)
    sentinel.write_text("")
    age(sentinel, 30)
    age(Path(run, "checkpoint-300", "trainer_state.json"), 20)
    (finding,) = judged(run, now_ns=NOW * SECOND)
    assert finding.severity is Severity.INFO


@pytest.mark.parametrize("suffix", [".REMOVED.git-id", ".part_aa"])
def test_a_placeholder_of_the_state_is_no_torn_save(run: str, suffix: str) -> None:
    state = Path(run, "checkpoint-300", "trainer_state.json")
    state.rename(f"{state}{suffix}")
    found = judged(run, now_ns=NOW * SECOND)
    assert names(found) == [("files/placeholder", "checkpoint-300", f"trainer_state.json{suffix}")]


def test_a_pointer_in_place_of_the_state_is_no_torn_save(run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").write_bytes(POINTER)
    found = judged(run, now_ns=NOW * SECOND)
    assert names(found) == [("files/placeholder", "checkpoint-300", "trainer_state.json")]


def test_checkpoints_that_were_written_to_their_end_pass(run: str) -> None:
    assert not check(run, RULE)
    assert outcome(run, RULE, "checkpoint-300").outcome is Outcome.PASS


def test_a_directory_in_place_of_the_trainer_state_blocks(run: str) -> None:
    remove(run, "trainer_state.json")
    Path(run, "checkpoint-200/trainer_state.json").mkdir()
    (finding,) = check(run, RULE)
    assert (finding.checkpoint, finding.blocks_resume) == ("checkpoint-200", True)
    assert "trainer_state.json is a directory" in finding.message


def test_checkpoints_of_which_none_has_a_state_were_saved_by_another_program(run: str) -> None:
    for step in (100, 200, 300):
        remove(run, "trainer_state.json", checkpoint=f"checkpoint-{step}")
    found = judged(run, now_ns=NOW * SECOND)
    assert names(found) == [(RULE, f"checkpoint-{step}", None) for step in (100, 200, 300)]
    assert all(
        "nor has any other checkpoint of the run: it is a checkpoint of another" in item.message for item in found
    )
    assert all(item.blocks_resume for item in found)

    accelerate = Path(run, "checkpoint-300", "random_states_0.pkl")
    accelerate.write_bytes(b"")
    age(accelerate, 3600)
    assert any("a checkpoint of accelerate (save_state)" in item.message for item in judged(run, now_ns=NOW * SECOND))


def test_one_checkpoint_alone_may_as_well_be_an_interrupted_save(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    remove(run, "trainer_state.json", checkpoint="checkpoint-100")
    for place in Path(run).rglob("*"):
        age(place, 3600)
    assert "which the trainer writes last" in judged(run, now_ns=NOW * SECOND)[0].message
