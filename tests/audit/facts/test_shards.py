"""Sharded states are read with their metadata; what cannot be read is not judged."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.manager import load
from audit.testing.judging import check, report
from audit.testing.torch_files import Made, torch_archive_bytes
from tests.dcp import MODEL, OPTIMIZER, make_sharded, write_state


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_sharded(tmp_path / "run", (100,))


def opened(run: Path) -> Checkpoint:
    (checkpoint,) = open_run(str(run), load().backends).checkpoints
    return checkpoint


def test_both_directories_are_read(run: Path) -> None:
    checkpoint = opened(run)

    assert [state.directory for state in checkpoint.shards] == [MODEL, OPTIMIZER]
    assert all(not state.missing and not state.broken for state in checkpoint.shards)
    assert checkpoint.updates == 100
    assert checkpoint.unread == {}


def test_the_spans_are_the_records_of_the_items(run: Path) -> None:
    found = opened(run).scan[f"{MODEL}/__0_0.distcp"]

    assert found.spans["model.embed.weight/data/0"].crc is not None
    assert not found.spans["model.embed.weight/data/0"].nonfinite


def test_transformed_items_are_not_judged(run: Path) -> None:
    def compress(state: dict[str, Any]) -> None:
        for place in state["storage_data"].values():
            place.state["transform_descriptors"] = ["zstd"]

    write_state(run / "checkpoint-100", 100, compress)

    with pytest.raises(NotApplicable, match="compressed or encrypted"):
        _ = opened(run).shards
    (summary,) = report(str(run)).checkpoints
    assert (summary.resumable, summary.judged) == (True, False)


def test_a_path_out_of_the_directory_is_not_followed(run: Path) -> None:
    (run / "checkpoint-100" / "elsewhere.distcp").write_bytes(b"x" * 4000)

    def away(state: dict[str, Any]) -> None:
        for place in state["storage_data"].values():
            place.state["relative_path"] = "../elsewhere.distcp"

    write_state(run / "checkpoint-100", 100, away)

    (state, _) = opened(run).shards
    assert state.sections == {}
    assert state.missing[0][1] == "is not there, and the metadata names it"
    assert not report(str(run)).checkpoints[0].resumable


def test_an_item_that_runs_code_is_named(run: Path) -> None:
    path = run / "checkpoint-100" / OPTIMIZER / "__0_0.distcp"
    state = next(state for state in opened(run).shards if state.directory == OPTIMIZER)
    (section,) = (
        item for item in state.sections[f"{OPTIMIZER}/__0_0.distcp"] if item.key.endswith("param_groups.0.params")
    )
    data = path.read_bytes()
    evil = torch_archive_bytes(Made("os.system", ("true",)))
    start, length = section.item.start, section.item.length
    evil += bytes(max(0, length - len(evil)))
    path.write_bytes(data[:start] + evil[:length] + data[start + length :])

    blocked = {item.rule for item in report(str(run)).findings if item.blocks_resume}

    assert blocked & {"security/unsafe-pickle", "shards/damaged"}
    assert check(str(run), "shards/stale") == []
