"""Whether another number of processes can resume from a checkpoint, by how its states are divided."""

from pathlib import Path

import pytest

from audit.facts.run import open_run
from audit.facts.world import WorldChange, world_change
from audit.manager import load
from audit.testing.runs import make_run
from tests.dcp import make_whole
from tests.zero import edit_engine, make_zero


def change(run: str | Path, processes: int) -> WorldChange | None:
    return world_change(open_run(str(run), load().backends).checkpoints[-1], processes)


def test_zero_is_loaded_by_as_many_as_saved_it(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))

    assert change(run, 2) is None
    found = change(run, 4)
    assert found is not None
    assert (found.before, found.now, found.works) == (2, 4, False)


def test_zero_with_elastic_checkpoint_is_divided_anew(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))
    edit_engine(
        run / "checkpoint-100",
        lambda value: {**value, "ds_config": {"zero_optimization": {"stage": 2, "elastic_checkpoint": True}}},
    )

    found = change(run, 4)

    assert found is not None
    assert found.works


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        (2, 4, "processes 2 to 3 will find no random state"),
        (2, 3, "process 2 will find no random state"),
        (4, 2, "the random states of processes 2 to 3 are not used"),
        (3, 2, "the random states of process 2 are not used"),
        (2, 1, "no process finds its random state"),
        (1, 2, "no process finds its random state"),
    ],
)
def test_plain_files_are_the_same_in_every_process(tmp_path: Path, before: int, now: int, text: str) -> None:
    found = change(make_run(tmp_path / "run", world=before), now)

    assert found is not None
    assert found.works
    assert text in found.text


def test_what_processes_saved_without_each_other_is_loaded_by_as_many(tmp_path: Path) -> None:
    run = make_whole(tmp_path / "run", (100,), alone=True)

    assert change(run, 2) is None
    found = change(run, 4)
    assert found is not None
    assert (found.before, found.works) == (2, False)
