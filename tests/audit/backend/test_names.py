"""``checkpoint-N`` and N: what counts as a checkpoint, for a resume, for rotation and for the user."""

import pytest

from audit.backend.names import (
    is_checkpoint,
    is_checkpoint_of_any,
    is_left_by_save,
    is_rotated,
    name_of,
    number_of,
    order,
    step_of,
    step_of_path,
    step_written_to,
    without_number,
)

NINES = "9" * 18


@pytest.mark.parametrize("step", [0, 300, int(NINES)])
def test_the_step_of_a_name_is_the_one_that_named_it(step: int) -> None:
    assert step_of(name_of(step)) == step
    assert is_checkpoint(name_of(step))
    assert is_rotated(name_of(step))


@pytest.mark.parametrize(
    "name",
    ["", "checkpoint-", "checkpoint--1", "checkpoint-1.1", "checkpoint-1\n", "tmp-checkpoint-1", "checkpoint-\u0663",
     "Checkpoint-1", "checkpoint-1 ", "my-checkpoint-1", "checkpoint-best"],
)  # fmt: skip
def test_anything_else_has_no_step(name: str) -> None:
    assert step_of(name) is None
    assert not is_checkpoint(name)


def test_a_step_of_nineteen_digits_is_made_up_but_its_directory_is_still_no_place_to_write() -> None:
    assert step_of(f"checkpoint-{NINES}") == int(NINES)
    assert step_of(f"checkpoint-1{NINES}") is None
    assert is_checkpoint(f"checkpoint-1{NINES}")


def test_leading_zeros_are_read() -> None:
    assert step_of("checkpoint-010") == 10


@pytest.mark.parametrize(
    ("path", "step"),
    [("runs/a/checkpoint-30", 30), ("runs/a/checkpoint-30/", 30), ("C:\\runs\\checkpoint-30", 30), ("checkpoint-30", 30),
     ("checkpoint-30/model", None), ("", None), ("True", None)],
)  # fmt: skip
def test_a_path_names_a_step_by_its_end(path: str, step: int | None) -> None:
    assert step_of_path(path) == step


def test_a_save_writes_under_the_name_or_the_temporary_one() -> None:
    assert step_written_to("checkpoint-30") == step_written_to("tmp-checkpoint-30") == 30
    assert step_written_to("tmp-tmp-checkpoint-30") is step_written_to("tmp-30") is None


def test_rotation_takes_whatever_begins_so() -> None:
    assert is_rotated("checkpoint-best")
    assert not is_rotated("tmp-checkpoint-3")
    assert is_left_by_save("tmp-checkpoint-3")
    assert not is_left_by_save("best-checkpoint-3")


def test_checkpoints_are_sorted_by_number_not_by_letter() -> None:
    long = f"checkpoint-1{NINES}"
    assert sorted([long, "checkpoint-100", "checkpoint-20", "checkpoint-020", "other"], key=order) == [
        "other", "checkpoint-020", "checkpoint-20", "checkpoint-100", long,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "name"),
    [("checkpoint-300", "checkpoint-300"), ("checkpoint-300.1", "checkpoint-300"), ("checkpoint-300.", None),
     ("checkpoint-300.1.2", None), ("checkpoint-300.tmp", None), ("other.1", None), ("checkpoint-300.\u0663", None)],
)  # fmt: skip
def test_the_name_of_what_was_moved_to_a_free_one(place: str, name: str | None) -> None:
    assert without_number(place) == name


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("epoch=3-step=120.ckpt", 120),
        ("epoch=3-step=120-v1.ckpt", 120),
        ("epoch=3_step=120_loss=0.5.ckpt", 120),
        ("last.ckpt", None),
        ("substep=7.ckpt", None),
        (f"step={NINES}9.ckpt", None),
    ],
)
def test_a_file_is_a_checkpoint_of_the_step_in_its_name(name: str, number: int | None) -> None:
    assert is_checkpoint_of_any(name)
    assert number_of(name) == number
    assert not is_checkpoint(name)
