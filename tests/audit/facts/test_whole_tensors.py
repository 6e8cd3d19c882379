"""Sharded states put together: weights as a whole, and an optimizer's state by the names of its parameters."""

import shutil
from pathlib import Path

import pytest

from audit.backend.layout import Layout
from audit.errors import NotApplicable
from audit.facts.shards import ShardedState, shards_of
from audit.facts.whole_tensors import optimizer_in_shards, weights_in
from audit.formats.dcp import Item, Saved, Section, ShardMetadata
from audit.manager import load
from audit.testing.judging import check
from audit.views.comparison import open_checkpoint
from tests.dcp import MODEL, OPTIMIZER, SHAPES, make_sharded, write_state


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_sharded(tmp_path / "run")


def test_weights_have_the_shape_that_a_resume_loads(run: Path) -> None:
    weights = open_checkpoint(str(run), load().backends).sharded_weights

    assert {name: whole.shape for name, whole in weights.items()} == {f"model.{n}": s for n, s in SHAPES.items()}
    assert [part.offsets for part in weights["model.embed.weight"].parts] == [(0, 0), (4, 0)]


def test_the_optimizer_is_by_name(run: Path) -> None:
    optimizer = open_checkpoint(str(run), load().backends).optimizer

    assert (optimizer.kind, optimizer.highest_step) == ("adam", 200.0)
    assert [group["params"] for group in optimizer.groups] == [list(SHAPES), []]
    assert optimizer.state["head.weight"]["exp_avg"].shape == SHAPES["head.weight"]
    assert len(optimizer.places["optimizer.state.head.weight.exp_avg"]) == 2


def test_of_a_part_that_cannot_be_read_nothing_is_concluded(run: Path) -> None:
    path = run / "checkpoint-200" / OPTIMIZER / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-100])
    checkpoint = open_checkpoint(str(run), load().backends)

    with pytest.raises(NotApplicable, match="1 parts of optimizer_0 could not be read"):
        _ = checkpoint.optimizer
    assert [finding.rule for finding in check(str(run), "scheduler/unusable")] == []


def test_one_directory_may_hold_both(run: Path) -> None:
    """As a bare ``dcp.save`` does, in the checkpoint itself: the roles of the layout decide, no name of a directory."""
    checkpoint = open_checkpoint(str(run), load().backends)
    files = {path.removeprefix(f"{OPTIMIZER}/"): file for path, file in checkpoint.files.items()}
    layout = Layout("fsdp", sharded_weights=(".metadata",), sharded_optimizer=(".metadata",))
    (state,) = shards_of(layout, files, strict=True)

    assert state.directory == ""
    assert optimizer_in_shards((state,), layout).highest_step == 200.0
    with pytest.raises(NotApplicable, match="no sharded weights"):
        weights_in((state,), layout)


def test_flattened_groups_are_put_together_by_what_they_have_in_common() -> None:
    names = [f"optimizer.param_groups.{name}.lr" for name in ("a.weight", "b.weight", "c.bias")]
    items = [Item(name, None, "__0_0.distcp", 0, 1) for name in names]
    sections = tuple(Section(item, item.name, value=rate) for item, rate in zip(items, (0.1, 0.1, 0.2), strict=True))
    entries = {name: Saved(name, None) for name in names}
    metadata = ShardMetadata(entries, tuple(items), False)
    state = ShardedState("", metadata, {"__0_0.distcp": sections}, (), (), (".metadata",))

    optimizer = optimizer_in_shards((state,), Layout("fsdp", sharded_optimizer=(".metadata",)))

    assert optimizer.groups == [{"lr": 0.1, "params": ["a.weight", "b.weight"]}, {"lr": 0.2, "params": ["c.bias"]}]


def test_moments_of_another_shape_than_the_weights_block(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "head.weight", (4, 4))
    place = run / "checkpoint-200"
    kept = {path: path.read_bytes() for path in (place / MODEL).iterdir()}
    write_state(place, 200)
    for path, data in kept.items():
        path.write_bytes(data)
    shutil.rmtree(run / "checkpoint-100")

    (finding,) = check(str(run), "optimizer/parameter-mismatch")

    assert "has exp_avg of shape [4, 4] for head.weight, whose weights have [8, 4]" in finding.message
    assert finding.blocks_resume
