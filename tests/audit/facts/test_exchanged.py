"""What is compared of the parts of a sharded state, and what keeps it bounded."""

from pathlib import Path

import pytest

from audit.facts import exchanged
from audit.facts.exchanged import _in_cycles, exchanged_between
from audit.facts.run import open_run
from audit.manager import load
from tests.dcp import MODEL, make_sharded
from tests.plugins.audit_rules.weights.test_exchanged import shards, swap


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = make_sharded(tmp_path / "run")
    swap(*shards(run, 200))
    return run


def found(run: Path) -> list[tuple[str, ...]]:
    older, newer = open_run(str(run), load().backends).checkpoints
    return [tuple(item) for item in exchanged_between(older, newer)]


def test_every_part_of_both_files_is_named(run: Path) -> None:
    first, second = (f"{MODEL}/__{rank}_0.distcp" for rank in (0, 1))
    names = ["model.embed.weight", "model.head.weight"]  # those of the other one have 8 elements, too few

    assert sorted(found(run)) == sorted(
        [(name, *pair) for name in names for pair in ((first, second), (second, first))]
    )


def test_of_more_parts_than_are_compared_some_are(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanged, "MOST_PARTS", 2)
    monkeypatch.setattr(exchanged, "ELEMENTS", 1)
    assert len(found(run)) in (0, 2)


def test_a_file_that_is_gone_says_nothing(run: Path) -> None:
    older, newer = open_run(str(run), load().backends).checkpoints
    assert exchanged_between(older, newer)
    shards(run, 100)[0].unlink()

    assert exchanged_between(older, newer) == ()


@pytest.mark.parametrize(
    ("near", "cycles"),
    [({0: 1, 1: 0}, [0, 1]), ({0: 1, 1: 2, 2: 0}, [0, 1, 2]), ({0: 1}, []), ({0: 1, 1: 2, 2: 1}, [1, 2]), ({}, [])],
)
def test_only_what_comes_back_to_itself_is_an_exchange(near: dict[int, int], cycles: list[int]) -> None:
    assert _in_cycles(near) == cycles
