"""Values that no training reaches."""

from pathlib import Path
from struct import pack

import pytest

from audit.testing.judging import check
from audit.testing.runs import edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

FILE = "adapter_model.safetensors"

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def put(tensor: FakeTensor, at: int, data: bytes) -> FakeTensor:
    return tensor._replace(data=tensor.data[:at] + data + tensor.data[at + len(data) :])


def change(run: str, step: int, name: str, at: int, data: bytes, file: str = FILE) -> None:
    def edit(tensors: dict[str, FakeTensor]) -> None:
        tensors[name] = put(tensors[name], at, data)

    edit_tensors(Path(run, f"checkpoint-{step}", file), edit)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_a_flipped_bit_of_an_exponent_is_out_of_range(run: str) -> None:
    change(run, 300, f"{Q0}.lora_B.weight", 0, pack("<f", 5e36))
    (finding,) = check(run, "weights/outlier")
    assert "5e+36" in finding.message


def test_large_but_possible_weights_are_in_range(run: str) -> None:
    change(run, 300, f"{Q0}.lora_B.weight", 0, pack("<f", 999.0))
    assert not check(run, "weights/outlier")


def test_a_full_model_may_hold_larger_values_than_an_adapter(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    name = "model.layers.0.self_attn.q_proj.weight"
    change(run, 300, name, 0, pack("<f", 1e10), "model.safetensors")
    assert not check(run, "weights/outlier")
    change(run, 300, name, 0, pack("<f", 1e20), "model.safetensors")
    assert len(check(run, "weights/outlier")) == 1


@pytest.mark.parametrize(
    ("name", "tensor", "found"),
    [
        ("attn.bias", FakeTensor("F32", (1, 2), pack("<2f", 0, -3e38)), 0),  # masks attention
        ("attn.bias", FakeTensor("F32", (2,), pack("<2f", 0, -3e38)), 1),
        ("attn.weight", FakeTensor("F16", (1, 2), pack("<2e", 0, 2e4)), 1),
        ("norm.running_var", FakeTensor("F16", (2,), pack("<2e", 0, 2e4)), 0),
    ],
)
def test_a_mask_may_be_endless_and_a_statistic_large(tmp_path: Path, name: str, tensor: FakeTensor, found: int) -> None:
    run = make_run(tmp_path / "run", (300,), full=True)
    edit_tensors(Path(run, "checkpoint-300", "model.safetensors"), lambda tensors: tensors.update({name: tensor}))

    assert len(check(run, "weights/outlier")) == found
