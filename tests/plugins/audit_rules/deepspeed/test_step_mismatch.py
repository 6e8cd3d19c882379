"""The states that DeepSpeed loads are of one step."""

import shutil
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from audit.findings import Finding
from audit.testing.judging import check
from audit.testing.torch_files import FakeTensor
from tests.zero import MODEL, PARTITION, edit_engine, edit_partition, make_zero


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_zero(tmp_path / "run")


def only(run: Path) -> Finding:
    (finding,) = check(str(run), "deepspeed/step-mismatch")
    assert finding.blocks_resume
    return finding


def counting(step: float) -> Any:
    def change(state: dict[str, Any]) -> dict[str, Any]:
        for entry in state["base_optimizer_state"]["state"].values():
            entry["step"] = FakeTensor("F32", (), pack("<f", step))
        return state

    return change


def test_an_older_directory_that_latest_names(run: Path) -> None:
    shutil.copytree(run / "checkpoint-100" / "global_step100", run / "checkpoint-200" / "global_step100")
    (run / "checkpoint-200" / "latest").write_text("global_step100")

    assert "is of step 100, as in checkpoint-100" in only(run).message


def test_an_engine_of_another_step_than_its_directory(run: Path) -> None:
    shutil.copy(run / "checkpoint-100" / "global_step100" / MODEL, run / "checkpoint-200" / "global_step200" / MODEL)

    finding = only(run)

    assert (finding.expected, finding.actual) == (200, 100)
    assert "its directory is global_step200" in finding.message


def test_an_engine_ahead_of_the_trainer(run: Path) -> None:
    place = run / "checkpoint-200"
    (place / "global_step200").rename(place / "global_step300")
    (place / "latest").write_text("global_step300")
    edit_engine(place, lambda value: {**value, "global_steps": 300})

    assert "the trainer did 200 steps" in only(run).message


def test_a_rank_that_counted_other_updates(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, counting(100))

    finding = only(run)

    assert finding.file == f"global_step200/{PARTITION.format(1)}"
    assert (finding.expected, finding.actual) == (200, 100)


def test_an_optimizer_that_started_over_on_all_ranks(run: Path) -> None:
    for rank in (0, 1):
        edit_partition(run / "checkpoint-200", rank, counting(100))

    assert "counted 100 updates" in only(run).message


def counting_nothing(state: dict[str, Any]) -> dict[str, Any]:
    del state["base_optimizer_state"]["state"][0]["step"]
    return state


def test_a_rank_whose_optimizer_counts_nothing_says_nothing(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 0, counting_nothing)
    assert check(str(run), "deepspeed/step-mismatch") == []

    edit_partition(run / "checkpoint-200", 1, counting(100))
    assert only(run).file == f"global_step200/{PARTITION.format(1)}"


def test_updates_that_were_skipped_are_no_mismatch(run: Path) -> None:
    edit_engine(run / "checkpoint-200", lambda value: {**value, "skipped_steps": 4})
    for rank in (0, 1):
        edit_partition(run / "checkpoint-200", rank, counting(196))

    assert check(str(run), "deepspeed/step-mismatch") == []


def test_engines_of_two_steps(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "third", stage=3)
    name = f"zero_pp_rank_1_{MODEL}"
    shutil.copy(run / "checkpoint-100" / "global_step100" / name, run / "checkpoint-200" / "global_step200" / name)

    assert only(run).message.startswith(f"global_step200/{name} is of step 100, global_step200/zero_pp_rank_0")


def test_a_checkpoint_before_that_cannot_be_read_is_not_compared(run: Path) -> None:
    shutil.rmtree(run / "checkpoint-100" / "global_step100")

    assert check(str(run), "deepspeed/step-mismatch") == []
