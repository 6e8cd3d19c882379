"""The count of steps against the trainer's."""

import shutil
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_arguments, edit_optimizer, edit_scheduler, edit_state, make_run
from audit.testing.torch_files import FakeTensor
from tests import dcp
from tests.dcp import make_apart, make_sharded

Value = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def counts(*steps: float) -> Callable[[Value], None]:
    """Set the counts of the parameters, the last one for all that are left."""

    def change(value: Value) -> None:
        for position, entry in enumerate(value["state"].values()):
            entry["step"] = FakeTensor("F32", (), pack("<f", steps[min(position, len(steps) - 1)]))

    return change


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def families(run: str) -> list[str]:
    return [finding.rule for finding in report(run, "optimizer", "scheduler").findings]


@pytest.mark.parametrize("count", [299.0, 301.0, 100.0])
def test_another_count_than_the_trainer_s_is_found(run: str, count: float) -> None:
    edit_optimizer(place(run), counts(count))
    (finding,) = check(run, "optimizer/step-mismatch")
    assert f"counted {count:g} updates, but the trainer did 300 steps" in finding.message
    assert finding.blocks_resume
    assert families(run) == ["optimizer/step-mismatch"]


def test_the_same_count_passes(run: str) -> None:
    assert outcome(run, "optimizer/step-mismatch", "checkpoint-300").outcome is Outcome.PASS


def test_parameters_that_were_unfrozen_later_have_lower_counts(run: str) -> None:
    for step in (100, 200, 300):
        edit_optimizer(place(run, step), counts(float(step), max(0.0, step - 180.0)))
    assert not check(run, "optimizer/step-mismatch")


def test_a_count_of_one_parameter_below_that_of_the_checkpoint_before(run: str) -> None:
    edit_optimizer(place(run), counts(300.0, 120.0))
    (finding,) = check(run, "optimizer/step-mismatch")
    assert "counted 120 updates of parameter" in finding.message
    assert "fewer than the 200 in checkpoint-200" in finding.message


def test_a_reset_of_optimizer_and_schedule_is_one_finding(run: str) -> None:
    edit_optimizer(place(run), counts(100.0))
    edit_scheduler(place(run), last_epoch=100, _step_count=101)
    assert families(run) == ["optimizer/step-mismatch"]


@pytest.mark.parametrize(("count", "found"), [(293.0, 0), (300.0, 0), (301.0, 1), (199.0, 1)])
def test_with_an_fp16_scaler_the_count_may_lag_but_not_fall(tmp_path: Path, count: float, found: int) -> None:
    run = make_run(tmp_path / "run", fp16=True)
    edit_optimizer(place(run), counts(count))
    assert len(check(run, "optimizer/step-mismatch")) == found


def test_fp16_of_versions_that_saved_no_scaler_is_known_by_the_arguments(run: str) -> None:
    edit_optimizer(place(run), counts(293.0))
    edit_arguments(place(run), fp16=True)
    assert not check(run, "optimizer/step-mismatch")


def test_without_training_arguments_a_scaler_is_assumed(run: str) -> None:
    edit_optimizer(place(run), counts(293.0))
    (place(run) / "training_args.bin").unlink()
    assert not check(run, "optimizer/step-mismatch")


def test_an_optimizer_that_counts_nothing_is_not_judged(run: str) -> None:
    def forget(value: Value) -> None:
        for entry in value["state"].values():
            del entry["step"]

    edit_optimizer(place(run), forget)
    assert outcome(run, "optimizer/step-mismatch", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("count", [float("nan"), float("inf"), -1.0, 1e38])
def test_a_count_that_no_counter_reaches_does_not_crash_the_rules(run: str, count: float) -> None:
    edit_optimizer(place(run), counts(count))
    assert not report(run, "optimizer", "scheduler").crashed


def test_an_integer_that_no_counter_reaches_does_not_crash_the_rules(run: str) -> None:
    def huge(value: Value) -> None:
        for entry in value["state"].values():
            entry["step"] = 10**400
        value["param_groups"][0]["eps"] = 10**400

    edit_optimizer(place(run), huge)
    assert not report(run, "optimizer", "scheduler").crashed


def test_an_edited_state_is_explained_by_the_directory_s_name(run: str) -> None:
    edit_state(place(run), global_step=250)
    rules = {finding.rule for finding in report(run, "steps", "optimizer", "scheduler").findings}
    assert rules == {"steps/directory-mismatch"}


def test_a_count_of_two_is_no_fresh_optimizer_but_one_of_another_step(run: str) -> None:
    edit_optimizer(place(run), counts(2.0))
    assert families(run) == ["optimizer/step-mismatch"]


def test_the_optimizer_of_a_later_step_is_not_held_against_the_checkpoint_after_it(run: str) -> None:
    newest = (place(run) / "optimizer.pt").read_bytes()
    (place(run, 100) / "optimizer.pt").write_bytes(newest)

    assert [finding.checkpoint for finding in check(run, "optimizer/step-mismatch")] == ["checkpoint-100"]


def test_a_weight_named_step_is_no_count_of_updates(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    named = {"model.schedule.step": FakeTensor("F32", (), pack("<f", 7.0))}
    dcp.write_shards(run / "checkpoint-200" / dcp.MODEL, named, None)

    assert outcome(str(run), "optimizer/step-mismatch", "checkpoint-200").outcome is Outcome.PASS

    shutil.rmtree(run / "checkpoint-200" / dcp.OPTIMIZER)

    assert check(str(run), "optimizer/step-mismatch") == []


def test_counts_are_not_compared_with_those_of_another_number_of_parameters(run: str) -> None:
    edit_optimizer(place(run), counts(300.0, 120.0))
    assert len(check(run, "optimizer/step-mismatch")) == 1
    edit_optimizer(place(run), lambda value: value["state"].popitem() and None)
    assert check(run, "optimizer/step-mismatch") == []


def test_counts_are_not_compared_with_those_of_other_parameters(run: str) -> None:
    def rename(value: Value) -> None:
        value["state"] = {number + 8: entry for number, entry in value["state"].items()}

    edit_optimizer(place(run), counts(300.0, -1.0))
    edit_optimizer(place(run), rename)
    assert check(run, "optimizer/step-mismatch") == []


def test_counts_are_not_compared_with_those_of_a_state_in_shards(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200))
    shutil.rmtree(place(run, 100))
    shutil.copytree(make_sharded(tmp_path / "sharded") / "checkpoint-100", place(run, 100))
    edit_optimizer(place(run, 200), counts(200.0, 50.0))

    assert check(run, "optimizer/step-mismatch") == []


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A run of a trainer that may skip updates; the newest checkpoint has the count of the one before."""
    run = make_apart(tmp_path / "apart")
    shutil.rmtree(run / "step-300" / "optimizer")
    shutil.copytree(run / "step-200" / "optimizer", run / "step-300" / "optimizer")
    return run


def test_where_updates_may_be_skipped_the_count_of_the_checkpoint_before_is_found(still: Path) -> None:
    (finding,) = check(str(still), "optimizer/step-mismatch")

    assert "counted 200 updates, as in step-200, but the trainer did 300 steps" in finding.message


def test_where_updates_may_be_skipped_the_first_checkpoint_is_compared_with_none(still: Path) -> None:
    for step in (100, 200):
        shutil.rmtree(still / f"step-{step}")

    assert check(str(still), "optimizer/step-mismatch") == []
