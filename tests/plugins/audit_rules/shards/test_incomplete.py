"""Every part of a sharded state is stored somewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.judging.guard import consult
from audit.options import Options
from audit.testing.judging import check, report
from tests.dcp import MODEL, OPTIMIZER, make_sharded, write_state


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_sharded(tmp_path / "run")


def said(run: Path) -> str:
    (finding,) = check(str(run), "shards/incomplete")
    assert (finding.checkpoint, finding.blocks_resume) == ("checkpoint-200", True)
    assert consult(str(run), options=Options(settle_seconds=0)).decision.checkpoint == "checkpoint-100"
    return finding.message


def test_a_sound_run_has_no_finding_and_is_judged(run: Path) -> None:
    found = report(str(run))

    assert found.findings == ()
    assert [item.judged for item in found.checkpoints] == [True, True]


@pytest.mark.parametrize("folder", [MODEL, OPTIMIZER])
def test_a_shard_that_is_gone(run: Path, folder: str) -> None:
    (run / "checkpoint-200" / folder / "__1_0.distcp").unlink()

    assert said(run).startswith(f"{folder}/__1_0.distcp is not there")


def test_of_two_shards_that_are_gone_the_first_is_named(run: Path) -> None:
    for rank in (0, 1):
        (run / "checkpoint-200" / MODEL / f"__{rank}_0.distcp").unlink()

    assert said(run) == f"{MODEL}/__0_0.distcp is not there, and the metadata names it (and 1 more)"


def _without_a_place(state: dict[str, Any]) -> None:
    state["storage_data"].pop(next(iter(state["storage_data"])))


def _without_a_chunk(state: dict[str, Any]) -> None:
    place = next(key for key in state["storage_data"] if key.state["fqn"] == "model.embed.weight")
    state["storage_data"].pop(place)
    state["state_dict_metadata"]["model.embed.weight"].state["chunks"].pop(0)


def _without_a_tensor(state: dict[str, Any]) -> None:
    state["state_dict_metadata"].pop("model.embed.weight")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_without_a_place, "model.embed.weight is not stored in any file from [0, 0] on"),
        (_without_a_chunk, "model.embed.weight has chunks of 16 elements together, but 32 elements"),
        (_without_a_tensor, "model.embed.weight is stored, but not in the table of tensors"),
    ],
)
def test_a_part_that_the_metadata_lost(run: Path, edit: Callable[[dict[str, Any]], None], words: str) -> None:
    write_state(run / "checkpoint-200", 200, edit)

    assert words in said(run)


def test_a_shard_of_a_larger_world_that_nothing_names_is_no_fault(run: Path) -> None:
    folder = run / "checkpoint-200" / MODEL
    (folder / "__7_0.distcp").write_bytes((folder / "__1_0.distcp").read_bytes())

    assert check(str(run), "shards/incomplete") == []
