"""Batches: of so many runs, and of no more bytes than one worker reads in a while."""

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the extra fleet is not installed")

from audit import verify
from audit.fleet import planning
from audit.fleet.passes import order_of
from audit.fleet.planning import Choice, plan
from audit.fleet.store import Store
from audit.manager import load
from audit.options import Options
from tests.audit.fleet.conftest import Grow, Pass, age


def batches(store: Store, tree: Path, choice: Choice) -> list[list[str]]:
    registry = load()
    store.make()
    store.begin()
    plan(store, [str(tree)], registry.backends, order_of(Options(), registry), choice, 1)
    return [[Path(task.run).name for task in batch.tasks] for batch in store.batches()]


def test_batches_are_of_so_many_runs(store: Store, tree: Path, grow: Grow) -> None:
    grow("a", "b", "c", "d", "e")
    assert batches(store, tree, Choice(batch=2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert [batch.number for batch in store.batches(frozenset({1}))] == [0, 2]
    assert [json.loads(line)["batch"] for line in Path(store.listing).read_text().splitlines()] == [0, 0, 1, 1, 2]


def test_what_was_broken_by_its_bytes_is_read_in_full_again(store: Store, over: Pass, grow: Grow) -> None:
    """A verification that confirms it writes to the run's ledger; by its structure the run is sound."""
    run = Path(grow("a", "b")[0])
    path = run / "checkpoint-2" / "optimizer.pt"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 255 for byte in data[middle : middle + 64])
    path.write_bytes(data)
    age(run)
    assert over().verdicts["broken"] == 0
    assert (over(depth="full").verdicts["broken"], over().verdicts["broken"]) == (1, 1)
    verify(str(run))
    age(run)

    summary = over()

    assert (summary.verdicts["broken"], summary.audited, summary.by_structure) == (1, 1, 0)
    assert over(depth="quick", budget=0).verdicts["broken"] == 1


def test_a_run_of_many_bytes_is_a_batch_of_its_own(
    store: Store, tree: Path, grow: Grow, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = grow("a", "b", "c", "d")
    size = sum(path.stat().st_size for path in Path(runs[0]).rglob("*") if path.is_file())
    Path(runs[1], "checkpoint-2", "large.bin").write_bytes(bytes(3 * size))
    monkeypatch.setattr(planning, "BATCH_BYTES", 2 * size)
    assert batches(store, tree, Choice(depth="full")) == [["a"], ["b"], ["c", "d"]]
    assert batches(store, tree, Choice(depth="quick")) == [["a", "b", "c", "d"]]
