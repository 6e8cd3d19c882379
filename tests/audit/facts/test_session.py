"""Which checkpoints one session wrote, by their training arguments."""

from pathlib import Path

import pytest

from audit.errors import NotApplicable
from audit.facts.run import Run, open_run
from audit.manager import load
from audit.testing.runs import edit_arguments, make_run


def opened(path: str) -> Run:
    return open_run(path, load().backends)


def names(run: Run, place: int) -> list[int]:
    return [item.step for item in run.session_of(run.checkpoints[place]).members]


def test_equal_arguments_are_one_session_wherever_they_are_in_the_lineage(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", (100, 200, 300, 400))
    for step in (200, 300):
        edit_arguments(f"{path}/checkpoint-{step}", seed=7)

    run = opened(path)

    assert [names(run, place) for place in range(4)] == [[100, 400], [200, 300], [200, 300], [100, 400]]


def test_a_checkpoint_without_readable_arguments_is_in_none(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", (100, 200))
    Path(path, "checkpoint-100", "training_args.bin").unlink()

    run = opened(path)

    assert names(run, 1) == [200]
    with pytest.raises(NotApplicable, match="which session wrote it is not known"):
        run.session_of(run.checkpoints[0])


def test_a_session_counts_directories_of_adapters_and_knows_a_scaler(tmp_path: Path) -> None:
    run = opened(make_run(tmp_path / "run", (100, 200), fp16=True))
    session = run.session_of(run.checkpoints[0])

    assert dict(session.adapter_directories) == {"": 2}
    assert session.scaler == "scaler.pt"
