"""NaN and infinities."""

from pathlib import Path
from struct import pack

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_tensors, make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes
from tests.zero import MODEL, edit_engine, make_zero

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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found_and_its_tensor_named(run: str, value: float) -> None:
    change(run, 300, f"{Q0}.lora_A.weight", 8, pack("<f", value))
    (finding,) = check(run, "weights/not-finite")
    assert finding.checkpoint == "checkpoint-300"
    assert "1 of 8 tensors" in finding.message
    assert f"{Q0}.lora_A" in finding.message
    assert finding.blocks_resume


def test_weights_in_a_torch_archive_are_looked_at_by_tensor(run: str) -> None:
    place = Path(run, "checkpoint-300")
    (place / FILE).unlink()
    values = {
        f"{Q0}.lora_A.weight": FakeTensor("F32", (2, 2), pack("<4f", 1, 2, 3, 4)),
        f"{Q0}.lora_B.weight": FakeTensor("F32", (2, 2), pack("<4f", 1, float("nan"), 3, 5e36)),
    }
    (place / "adapter_model.bin").write_bytes(torch_archive_bytes(values, "adapter_model"))
    (finding,) = check(run, "weights/not-finite")
    assert f"1 of 2 tensors: {Q0}.lora_B.weight" in finding.message
    (finding,) = check(run, "weights/outlier")
    assert finding.file == "adapter_model.bin"


def test_the_largest_finite_value_is_not_reported_as_infinite(run: str) -> None:
    change(run, 300, f"{Q0}.lora_A.weight", 8, pack("<I", 0x7F7FFFFF))
    assert not check(run, "weights/not-finite")


def test_quick_depth_does_not_judge_values(run: str) -> None:
    change(run, 300, f"{Q0}.lora_A.weight", 8, pack("<f", float("nan")))
    told = outcome(run, "weights/not-finite", "checkpoint-300", depth="quick")
    assert told.outcome is Outcome.NOT_APPLICABLE


def test_an_infinite_mask_buffer_of_a_full_model_is_meant(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    for step in (100, 200, 300):
        edit_tensors(
            Path(run, f"checkpoint-{step}", "model.safetensors"),
            lambda tensors: tensors.update({"model.causal_mask": FakeTensor("F32", (1,), pack("<f", float("-inf")))}),
        )
    assert not check(run, "weights/not-finite")
    assert not check(run, "weights/outlier")


def test_a_nan_in_the_module_of_deepspeed_is_found_and_a_mask_may_be_infinite(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "zero")
    nan = FakeTensor("F32", (2,), pack("<2f", float("nan"), 1.0))

    def put(name: str) -> None:
        edit_engine(run / "checkpoint-200", lambda value: {**value, "module": {**value["module"], name: nan}})

    put("layers.0.attn.mask")
    assert check(str(run), "weights/not-finite") == []

    put("extra.bias")
    (finding,) = check(str(run), "weights/not-finite")
    assert (finding.file, finding.blocks_resume) == (f"global_step200/{MODEL}", True)
    assert "extra.bias" in finding.message
