"""files/missing-rng-state."""

import shutil
from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, registry
from audit.testing.runs import edit_arguments, edit_torch, make_run
from tests.accelerate import make_accelerate
from tests.plugins.audit_rules.files.editing import judged, names, remove

RULE = "files/missing-rng-state"


def test_the_state_of_one_process_is_missed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    remove(run, "rng_state.pth")
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", "rng_state.pth")
    assert (finding.severity, finding.blocks_resume) == (Severity.WARNING, False)
    assert finding.message == "rng_state.pth is not there: a resume would work, but not reproducibly"
    assert registry().rule(RULE).blocks == "blocks resuming with --exact"


def test_one_of_three_processes_is_missed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", world=3)
    remove(run, "rng_state_1.pth")
    (finding,) = check(run, RULE)
    assert (finding.file, finding.expected) == ("rng_state_1.pth", "3 random number state(s)")
    assert finding.actual == "2 of them"


def test_many_missing_ones_are_one_short_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", world=8)
    remove(run, *(f"rng_state_{rank}.pth" for rank in range(1, 8)))
    (finding,) = check(run, RULE)
    assert "rng_state_4.pth and 3 more are not there" in finding.message


def test_four_missing_ones_are_all_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", world=8)
    remove(run, *(f"rng_state_{rank}.pth" for rank in range(1, 5)))
    (finding,) = check(run, RULE)
    assert "rng_state_3.pth, rng_state_4.pth are not there" in finding.message


def test_a_run_of_three_processes_with_three_states_passes(tmp_path: Path) -> None:
    assert not check(make_run(tmp_path / "run", world=3), RULE)


def test_with_save_only_model_none_is_owed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    remove(run, "rng_state.pth")
    edit_arguments(f"{run}/checkpoint-200", save_only_model=True)
    assert not check(run, RULE)


def test_a_placeholder_in_its_place_is_another_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    state = Path(run, "checkpoint-200", "rng_state.pth")
    state.rename(f"{state}.REMOVED.git-id")
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", "rng_state.pth.REMOVED.git-id")]


@pytest.mark.parametrize(("moved", "found"), [(2, ["random_states_1.pkl"]), (1, [])])
def test_of_accelerate_as_many_are_owed_as_the_schedule_was_moved_by(
    tmp_path: Path, moved: int, found: list[str]
) -> None:
    """It moves once for each process. After a resume with one process fewer, a state fewer is no loss."""
    run = Path(make_accelerate(tmp_path / "run"))
    for step in (100, 200, 300):
        place = run / f"step_{step}"
        if step < 300:
            shutil.copy(place / "random_states_0.pkl", place / "random_states_1.pkl")
        changed = {"last_epoch": min(step, 200) * 2 + max(step - 200, 0) * moved}
        edit_torch(place / "scheduler.bin", lambda values, changed=changed: values.update(changed))  # type: ignore[misc]

    assert [item.file for item in check(str(run), RULE)] == found
