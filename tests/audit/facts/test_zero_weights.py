"""The two copies of the weights under ZeRO: what is compared, and what cannot be."""

from pathlib import Path

import pytest

from audit.errors import NotApplicable
from audit.facts import zero_weights
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.manager import load
from tests.zero import SHAPES, edit_engine, edit_partition, make_zero


def checkpoint(run: Path, depth: str = "full") -> Checkpoint:
    return open_run(str(run), load().backends, depth=depth).checkpoints[-1]


def test_every_element_of_a_small_model_is_compared(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))
    edit_engine(
        run / "checkpoint-100",
        lambda value: {
            **value,
            "module": {
                name: item._replace(data=b"\0\0\0\x42" * (len(item.data) // 4))
                for name, item in value["module"].items()
            },
        },
    )

    found = checkpoint(run).apart

    assert {item.name for item in found} == set(SHAPES)
    assert sum(item.compared for item in found) == sum(item.changed for item in found) == 101


def test_of_a_large_parameter_both_ends_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_weights, "ELEMENTS", 0)
    monkeypatch.setattr(zero_weights, "LEAST", 4)
    run = make_zero(tmp_path / "run", (100,))
    edit_engine(
        run / "checkpoint-100",
        lambda value: {
            **value,
            "module": {
                name: item._replace(data=item.data[:-4] + b"\0\0\0\x42") for name, item in value["module"].items()
            },
        },
    )

    found = {item.name: (item.changed, item.compared) for item in checkpoint(run).apart}

    assert found["embed.weight"] == (1, 4)


def test_an_order_that_is_not_known_is_not_compared(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))
    for rank in (0, 1):
        edit_partition(
            run / "checkpoint-100", rank, lambda state: {**state, "param_alignment_paddings": [[0, 4, 0, 0], [0, 0]]}
        )

    with pytest.raises(NotApplicable, match="order of the parameters"):
        _ = checkpoint(run).apart


def test_a_quick_audit_reads_no_weights(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="needs --depth full"):
        _ = checkpoint(make_zero(tmp_path / "run", (100,)), "quick").apart
