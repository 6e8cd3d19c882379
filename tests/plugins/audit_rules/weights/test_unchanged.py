"""weights/unchanged: the weights of an older checkpoint, and when they may be."""

import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_json, edit_optimizer, edit_scheduler, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor
from tests.accelerate import make_accelerate

FILE = "adapter_model.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def copy(run: str, name: str, source: int, target: int) -> None:
    shutil.copyfile(Path(run, f"checkpoint-{source}", name), Path(run, f"checkpoint-{target}", name))


def test_a_copied_adapter_is_found_and_its_source_named(run: str) -> None:
    copy(run, FILE, 100, 300)
    (finding,) = check(run, "weights/unchanged")
    assert finding.checkpoint == "checkpoint-300"
    assert "checkpoint-100, 200 steps earlier" in finding.message
    assert finding.blocks_resume


def test_other_weights_at_each_step_pass(run: str) -> None:
    assert outcome(run, "weights/unchanged", "checkpoint-300").outcome is Outcome.PASS


def test_the_random_states_may_stay_the_same(run: str) -> None:
    copy(run, "rng_state.pth", 100, 300)
    assert not check(run, "weights/unchanged")
    assert not check(run, "optimizer/unchanged")


def test_one_checkpoint_by_itself_has_nothing_to_be_compared_with(run: str) -> None:
    told = outcome(f"{run}/checkpoint-300", "weights/unchanged", "checkpoint-300")
    assert told.outcome is Outcome.NOT_APPLICABLE


def test_at_learning_rate_zero_nothing_changes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", learning_rate=0.0, schedule="constant")
    copy(run, FILE, 200, 300)
    assert not check(run, "weights/unchanged")


def test_the_first_step_after_a_schedule_that_reached_zero_changes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 101), max_steps=101)
    edit_scheduler(Path(run, "checkpoint-100"), _last_lr=[0.0, 0.0])
    copy(run, FILE, 100, 101)
    assert not check(run, "weights/unchanged")
    assert "learning rate 0" in str(outcome(run, "weights/unchanged", "checkpoint-101").reason)


def test_one_step_at_a_rate_above_zero_changes_the_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 101), max_steps=101)
    copy(run, FILE, 100, 101)
    assert len(check(run, "weights/unchanged")) == 1


@pytest.mark.parametrize(("updates", "found"), [(100.0, 0), (101.0, 1)])
def test_a_step_that_the_fp16_scaler_skipped_changes_nothing(tmp_path: Path, updates: float, found: int) -> None:
    run = make_run(tmp_path / "run", (100, 101), max_steps=200, fp16=True)
    copy(run, FILE, 100, 101)

    def count(value: dict[str, dict[int, dict[str, FakeTensor]]]) -> None:
        for entry in value["state"].values():
            entry["step"] = FakeTensor("F32", (), struct.pack("<f", updates))

    edit_optimizer(Path(run, "checkpoint-101"), count)
    assert len(check(run, "weights/unchanged")) == found


def add_adapter(run: str, step: int, name: str) -> None:
    place = Path(run, f"checkpoint-{step}", name)
    place.mkdir()
    for file in (FILE, "adapter_config.json"):
        shutil.copyfile(Path(run, "checkpoint-100", file), place / file)


def test_an_inactive_adapter_beside_a_trained_one_stays_the_same(run: str) -> None:
    for step in (100, 200, 300):
        add_adapter(run, step, "second")
    assert not check(run, "weights/unchanged")


def test_of_several_adapters_all_unchanged_is_a_copy(run: str) -> None:
    for step in (100, 200, 300):
        add_adapter(run, step, "second")
    copy(run, FILE, 200, 300)
    (finding,) = check(run, "weights/unchanged")
    assert "second/adapter_model.safetensors" in finding.message


def shard(run: str, step: int) -> None:
    place = Path(run, f"checkpoint-{step}")
    names: dict[str, str] = {}

    def part(first: bool) -> None:
        target = f"model-0000{1 if first else 2}-of-00002.safetensors"
        shutil.copyfile(place / "model.safetensors", place / target)

        def keep(tensors: dict[str, FakeTensor]) -> None:
            for name in sorted(tensors):
                if (name < "model.layers.1") is not first:
                    del tensors[name]
                else:
                    names[name] = target

        edit_tensors(place / target, keep)

    part(True)
    part(False)
    (place / "model.safetensors").unlink()
    (place / "model.safetensors.index.json").write_text("{}")
    edit_json(place / "model.safetensors.index.json", metadata={"total_size": 1}, weight_map=names)


def test_one_shard_of_an_older_step_is_found_where_everything_trains(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), full=True)
    for step in (100, 200):
        shard(run, step)
    assert not check(run, "weights/unchanged")
    copy(run, "model-00002-of-00002.safetensors", 100, 200)
    (finding,) = check(run, "weights/unchanged")
    assert "model-00002-of-00002.safetensors" in finding.message


def test_a_shard_of_frozen_weights_stays_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), full=True)
    for step in (100, 200):
        shard(run, step)
        edit_optimizer(Path(run, f"checkpoint-{step}"), lambda value: value["param_groups"][1].update(params=[]))
    copy(run, "model-00002-of-00002.safetensors", 100, 200)
    assert not check(run, "weights/unchanged")


def test_where_no_other_checkpoint_could_be_read_nothing_is_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200))
    assert outcome(run, "weights/unchanged", "checkpoint-200").outcome is Outcome.PASS
    Path(run, "checkpoint-100", "trainer_state.json").unlink()

    found = outcome(run, "weights/unchanged", "checkpoint-200")

    assert (found.outcome, found.reason) == (Outcome.NOT_APPLICABLE, "no other checkpoint was read")


def test_of_a_copy_of_several_files_the_first_says_where_it_was_made(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), full=True)
    for step in (100, 200):
        shard(run, step)
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in names:
        copy(run, name, 200, 100)
    for step, name in ((100, names[0]), (200, names[1])):
        os.utime(Path(run, f"checkpoint-{step}", name), (time.time() + 60,) * 2)

    (finding,) = check(run, "weights/unchanged")

    assert finding.checkpoint == "checkpoint-100"


@pytest.mark.parametrize(
    ("frozen", "still", "found"),
    [((), (), ["model_1.safetensors"]), ((), (300,), []), ((200,), (), [])],
    ids=["stale", "no-longer-trained", "never-trained"],
)
def test_the_second_model_of_accelerate_is_compared_by_itself(
    tmp_path: Path, frozen: tuple[int, ...], still: tuple[int, ...], found: list[str]
) -> None:
    """``frozen`` are the steps before the last in which it was the same; ``still``: its optimizer was, too."""
    run = Path(make_accelerate(tmp_path / "run"))
    for step in (100, 200, 300):
        place = run / f"step_{step}"
        shutil.copyfile(place / "model.safetensors", place / "model_1.safetensors")
        shutil.copyfile(place / "optimizer.bin", place / "optimizer_1.bin")
    for step in (*frozen, 300):
        shutil.copyfile(
            run / f"step_{step - 100}" / "model_1.safetensors", run / f"step_{step}" / "model_1.safetensors"
        )
    for step in still:
        shutil.copyfile(run / f"step_{step - 100}" / "optimizer_1.bin", run / f"step_{step}" / "optimizer_1.bin")

    assert [item.file for item in check(str(run), "weights/unchanged")] == found
