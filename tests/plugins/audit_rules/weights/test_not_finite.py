"""NaN and infinities."""

from pathlib import Path
from struct import pack

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_tensors, edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made, torch_archive_bytes
from tests.zero import MODEL, edit_engine, frozen_slices, make_zero

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


@pytest.mark.parametrize("rank", [0, 1])
def test_a_nan_in_a_frozen_parameter_of_zero_3_is_found_but_not_one_in_its_padding(tmp_path: Path, rank: int) -> None:
    """Of 5 elements the first rank has three, the second two and one of padding."""
    nan = float("nan")
    told = []
    for at in range(3):
        run = make_zero(tmp_path / str(at), (100,), stage=3)
        slices = [[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]]
        frozen_slices(run / "checkpoint-100", {"frozen.bias": ((5,), slices)})
        assert check(str(run), "weights/not-finite") == []
        slices[rank][at] = nan
        frozen_slices(run / "checkpoint-100", {"frozen.bias": ((5,), slices)})
        found = check(str(run), "weights/not-finite")
        told.append(len(found))
        for finding in found:
            assert (finding.file, finding.blocks_resume) == (f"global_step100/zero_pp_rank_{rank}_{MODEL}", True)
            assert "frozen.bias" in finding.message

    assert told == ([1, 1, 1] if rank == 0 else [1, 1, 0])


def test_a_frozen_slice_of_unknown_shape_is_judged_as_a_whole_and_none_is_fine(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,), stage=3)
    engine = run / "checkpoint-100" / "global_step100" / f"zero_pp_rank_1_{MODEL}"
    edit_torch(engine, lambda value: {**value, "frozen_param_fragments": None, "frozen_param_shapes": None})
    assert check(str(run), "weights/not-finite") == []
    nan = FakeTensor("F32", (1,), pack("<f", float("nan")))
    edit_torch(engine, lambda value: {**value, "frozen_param_fragments": {"frozen.bias": nan}})
    (finding,) = check(str(run), "weights/not-finite")
    assert "frozen.bias" in finding.message


def test_a_whole_frozen_parameter_of_zero_2_has_no_padding(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))
    whole = FakeTensor("F32", (3,), pack("<3f", 1.0, 2.0, float("nan")))
    shapes = {"frozen.bias": Made("torch.Size", ((3,),))}
    edit_engine(
        run / "checkpoint-100",
        lambda value: {**value, "frozen_param_fragments": {"frozen.bias": whole}, "frozen_param_shapes": shapes},
    )
    (finding,) = check(str(run), "weights/not-finite")
    assert "frozen.bias" in finding.message
