"""The module in DeepSpeed's states has the tensors of the model."""

from pathlib import Path
from typing import Any

import pytest

from audit.findings import Finding
from audit.testing.judging import check, report
from audit.testing.runs import edit_torch
from audit.testing.torch_files import FakeTensor
from tests.zero import MODEL, edit_engine, make_zero


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_zero(tmp_path / "run")


def only(run: Path) -> Finding:
    (finding,) = check(str(run), "deepspeed/module-mismatch")
    assert finding.blocks_resume
    assert [item.rule for item in report(str(run)).findings] == ["deepspeed/module-mismatch"]
    return finding


def having(value: dict[str, Any], **tensors: FakeTensor) -> dict[str, Any]:
    return {**value, "module": {**value["module"], **tensors}}


def floats(*shape: int) -> FakeTensor:
    size = 4
    for side in shape:
        size *= side
    return FakeTensor("F32", shape, bytes(size))


def test_a_tensor_that_the_module_lacks(run: Path) -> None:
    def without(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "module": {name: item for name, item in value["module"].items() if name != "norm.weight"}}

    edit_engine(run / "checkpoint-200", without)

    assert "has no weights of norm.weight" in only(run).message


def test_a_frozen_tensor_that_the_module_had_before(run: Path) -> None:
    edit_engine(run / "checkpoint-100", lambda value: having(value, frozen=floats(2)))

    assert "has no weights of frozen" in only(run).message


def test_a_tensor_that_no_checkpoint_before_had(run: Path) -> None:
    edit_engine(run / "checkpoint-200", lambda value: having(value, another=floats(3)))

    assert "has another, which the checkpoint before does not have" in only(run).message


def test_a_buffer_in_all_checkpoints(run: Path) -> None:
    for step in (100, 200):
        edit_engine(run / f"checkpoint-{step}", lambda value: having(value, buffer=floats(3)))

    assert report(str(run)).findings == ()


def test_a_trained_tensor_of_another_shape(run: Path) -> None:
    edit_engine(run / "checkpoint-200", lambda value: having(value, **{"norm.weight": floats(3, 3)}))

    assert "has norm.weight of shape [3, 3], but the model [2]" in only(run).message


def test_a_buffer_of_another_shape(run: Path) -> None:
    edit_engine(run / "checkpoint-100", lambda value: having(value, buffer=floats(3)))
    edit_engine(run / "checkpoint-200", lambda value: having(value, buffer=floats(4)))

    assert "has buffer of shape [4], but the model [3]" in only(run).message


def test_the_empty_tensors_of_zero_3(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", stage=3)
    assert check(str(run), "deepspeed/module-mismatch") == []

    path = run / "checkpoint-200" / "global_step200" / f"zero_pp_rank_1_{MODEL}"
    edit_torch(path, lambda value: having(value, another=floats(3)))

    assert "has another, which the checkpoint before does not have" in only(run).message
