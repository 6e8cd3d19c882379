"""The module of DeepSpeed's engine is the fp32 partitions, rounded."""

from pathlib import Path
from struct import pack, unpack
from typing import Any

import pytest

from audit.testing.judging import check
from audit.testing.torch_files import FakeTensor
from tests.zero import MODEL, edit_engine, edit_partition, make_zero


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_zero(tmp_path / "run")


def test_a_model_state_of_an_older_step_that_says_it_is_of_this_one(run: Path) -> None:
    newest = run / "checkpoint-200" / "global_step200" / MODEL
    newest.write_bytes((run / "checkpoint-100" / "global_step100" / MODEL).read_bytes())
    edit_engine(run / "checkpoint-200", lambda value: {**value, "global_steps": 200})

    (finding,) = check(str(run), "deepspeed/weights-differ")

    assert finding.blocks_resume
    assert finding.file == f"global_step200/{MODEL}"
    assert "different weights of embed.weight and 6 more places: 32 of 32 elements" in finding.message
    assert (finding.expected, finding.actual) == (0, 7)


def test_one_element_of_the_last_parameter(run: Path) -> None:
    def other(state: dict[str, Any]) -> dict[str, Any]:
        first, last = state["single_partition_of_fp32_groups"]
        return {**state, "single_partition_of_fp32_groups": [first, last._replace(data=pack("<f", 9.0))]}

    edit_partition(run / "checkpoint-200", 1, other)

    (finding,) = check(str(run), "deepspeed/weights-differ")

    assert "different weights of norm.weight: 1 of 1 elements" in finding.message


def halves(tensor: FakeTensor) -> FakeTensor:
    """In bfloat16, rounded to the nearest."""
    words = unpack(f"<{len(tensor.data) // 4}I", tensor.data)
    rounded = [(word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words]
    return FakeTensor("BF16", tensor.shape, pack(f"<{len(rounded)}H", *rounded))


def test_weights_in_another_type_are_the_same_rounded(run: Path) -> None:
    for step in (100, 200):
        edit_engine(
            run / f"checkpoint-{step}",
            lambda value: {**value, "module": {name: halves(item) for name, item in value["module"].items()}},
        )

    assert check(str(run), "deepspeed/weights-differ") == []


def test_zero_3_has_its_weights_once(tmp_path: Path) -> None:
    assert check(str(make_zero(tmp_path / "run", stage=3)), "deepspeed/weights-differ") == []


def test_a_module_without_one_of_them_says_nothing_of_it(run: Path) -> None:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "module": {**value["module"], "head.weight": None}}

    for step in (100, 200):
        edit_engine(run / f"checkpoint-{step}", change)

    assert check(str(run), "deepspeed/weights-differ") == []
