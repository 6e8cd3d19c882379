"""Whether a number of processes can resume from what the guard hands out."""

import os
from pathlib import Path

import pytest

from audit.judging.decision import Decision
from audit.judging.processes import Processes
from audit.manager import load
from audit.options import Options
from audit.retention.pins import pin
from audit.testing.runs import make_run
from tests.zero import make_zero


def asked(run: str, number: int, checkpoint: str | None) -> tuple[str | None, list[str]]:
    processes = Processes(run, number, Options(), load())
    return processes.veto(Decision(checkpoint, None, checkpoint is None, None, ())), processes.lines


@pytest.fixture
def zero(tmp_path: Path) -> str:
    """Saved by two processes, each its own part."""
    return str(make_zero(tmp_path / "zero", (100,)))


def test_as_many_as_before_are_let_through_and_others_not(zero: str) -> None:
    assert asked(zero, 2, "checkpoint-100") == (None, [])

    refusal, lines = asked(zero, 4, "checkpoint-100")

    assert refusal is not None
    assert refusal.startswith("checkpoint-100 was saved by 2 processes and 4 will resume: DeepSpeed loads the part")
    assert lines == []


def test_others_that_can_resume_hear_what_becomes_of_it(tmp_path: Path) -> None:
    refusal, (line,) = asked(make_run(tmp_path / "run"), 2, "checkpoint-300")

    assert refusal is None
    assert line.startswith("warning: checkpoint-300 was saved by 1 and 2 will resume: ")


def test_a_pin_is_looked_at_where_it_is(zero: str) -> None:
    pin(zero, "checkpoint-100")
    os.rename(os.path.join(zero, "checkpoint-100"), os.path.join(zero, "elsewhere"))

    refusal, _ = asked(zero, 4, ".audit/pinned/checkpoint-100")

    assert refusal is not None
    assert refusal.startswith("checkpoint-100 was saved by 2 processes")


def test_that_the_number_is_not_known_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    for name in ("training_args.bin", "rng_state.pth"):
        os.remove(os.path.join(run, "checkpoint-100", name))

    assert asked(run, 2, "checkpoint-100") == (
        None,
        ["note: checkpoint-100 does not show how many processes saved it"],
    )


def test_a_fresh_start_and_what_is_gone_meanwhile_have_nothing_to_refuse(zero: str) -> None:
    assert asked(zero, 4, None) == (None, [])
    assert asked(zero, 4, "checkpoint-200") == (None, [])
