"""weights/not-finite, untrained, zero-run, rank-slice, outlier, hollow: values that training does not leave."""

from pathlib import Path
from struct import pack

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_optimizer, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes

FILE = "adapter_model.safetensors"
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def put(tensor: FakeTensor, at: int, data: bytes) -> FakeTensor:
    return tensor._replace(data=tensor.data[:at] + data + tensor.data[at + len(data) :])


def change(run: str, step: int, name: str, at: int, data: bytes, file: str = FILE) -> None:
    def edit(tensors: dict[str, FakeTensor]) -> None:
        tensors[name] = put(tensors[name], at, data)

    edit_tensors(Path(run, f"checkpoint-{step}", file), edit)


def zero(tensors: dict[str, FakeTensor], part: str) -> None:
    for name, tensor in tensors.items():
        if part in name:
            tensors[name] = tensor._replace(data=bytes(len(tensor.data)))


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


def test_lora_b_of_zeros_is_an_adapter_that_was_not_trained(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, ".lora_B."))
    (finding,) = check(run, "weights/untrained")
    assert "all 4 lora_B" in finding.message
    assert "300 steps" in finding.message
    assert not finding.blocks_resume


def test_an_adapter_of_nothing_but_zeros_blocks_a_resume(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, ".lora_"))
    (finding,) = check(run, "weights/untrained")
    assert "contents of the file are lost" in finding.message
    assert finding.blocks_resume


def test_one_lora_b_of_several_is_not_an_untrained_adapter(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, "layers.0.self_attn.q_proj.lora_B"))
    assert not check(run, "weights/untrained")


def test_zeros_after_the_first_step_of_a_warm_up_are_legitimate(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,), max_steps=10)
    edit_tensors(Path(run, "checkpoint-1", FILE), lambda tensors: zero(tensors, ".lora_B."))
    assert outcome(run, "weights/untrained", "checkpoint-1").outcome is Outcome.NOT_APPLICABLE


def test_zeros_are_legitimate_while_the_learning_rate_is_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", learning_rate=0.0, schedule="constant")
    for step in (100, 200, 300):
        edit_tensors(Path(run, f"checkpoint-{step}", FILE), lambda tensors: zero(tensors, ".lora_B."))
    assert not check(run, "weights/untrained")
    assert "learning rate" in str(outcome(run, "weights/untrained", "checkpoint-300").reason)


def test_zeros_are_legitimate_while_the_fp16_scaler_skips_every_update(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (4,), max_steps=40, logging_steps=1, fp16=True)
    edit_tensors(Path(run, "checkpoint-4", FILE), lambda tensors: zero(tensors, ".lora_B."))
    edit_optimizer(Path(run, "checkpoint-4"), lambda value: value["state"].clear())
    assert outcome(run, "weights/untrained", "checkpoint-4").outcome is Outcome.NOT_APPLICABLE


def test_zeros_in_the_middle_of_a_lora_matrix_are_a_lost_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8)
    change(run, 200, f"{Q0}.lora_A.weight", 64, bytes(256))
    (finding,) = check(run, "weights/zero-run")
    assert finding.checkpoint == "checkpoint-200"
    assert "256 bytes" in finding.message
    assert f"{Q0}.lora_A" in finding.message


def test_fewer_zeros_than_a_lost_page_leaves_are_not_reported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8)
    change(run, 200, f"{Q0}.lora_A.weight", 64, bytes(248))
    assert not check(run, "weights/zero-run")


def test_zeros_at_the_same_place_in_another_checkpoint_are_the_model_s_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8)
    for step in (100, 200, 300):
        change(run, step, f"{Q0}.lora_A.weight", 64, bytes(256))
    assert not check(run, "weights/zero-run")


def test_one_lora_a_of_zeros_is_lost(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, "layers.0.self_attn.q_proj.lora_A"))
    (finding,) = check(run, "weights/zero-run")
    assert f"all of {Q0}.lora_A.weight" in finding.message


def test_one_lora_b_of_zeros_whose_gradients_the_optimizer_saw_is_lost(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, "layers.0.self_attn.q_proj.lora_B"))
    (finding,) = check(run, "weights/zero-run")
    assert f"all of {Q0}.lora_B.weight" in finding.message


def test_one_lora_b_of_zeros_without_a_gradient_is_an_unused_module(run: str) -> None:
    for step in (100, 200, 300):
        place = Path(run, f"checkpoint-{step}")
        edit_tensors(place / FILE, lambda tensors: zero(tensors, "layers.0.self_attn.q_proj.lora_B"))
        edit_optimizer(place, lambda value: value["state"].pop(1) and None)
    assert not check(run, "weights/zero-run")


def test_a_lost_page_of_a_full_model_is_found_in_matrices_only(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    big = FakeTensor("F32", (64, 64), pack("<4096f", *(n + 0.1 for n in range(4096))))
    for step in (100, 200, 300):
        edit_tensors(
            Path(run, f"checkpoint-{step}", "model.safetensors"),
            lambda tensors: tensors.update({"big.weight": big, "big.embed_tokens.weight": big}),
        )
    change(run, 300, "big.embed_tokens.weight", 4096, bytes(4096), "model.safetensors")
    assert not check(run, "weights/zero-run")
    change(run, 300, "big.weight", 4096, bytes(4096), "model.safetensors")
    (finding,) = check(run, "weights/zero-run")
    assert "4096 bytes" in finding.message


@pytest.mark.parametrize(("rows", "count"), [((0, 8), 2), ((0, 2), 8), ((4, 8), 4)])
def test_rows_of_one_process_only_are_found(tmp_path: Path, rows: tuple[int, int], count: int) -> None:
    run = make_run(tmp_path / "run", rank=8, world=count)

    def keep(tensors: dict[str, FakeTensor]) -> None:
        for name, tensor in tensors.items():
            if ".lora_B." in name:
                first, end = rows[0] * 32, rows[1] * 32
                data = bytes(first) + tensor.data[first:end] + bytes(len(tensor.data) - end)
                tensors[name] = tensor._replace(data=data)

    edit_tensors(Path(run, "checkpoint-300", FILE), keep)
    (finding,) = check(run, "weights/rank-slice")
    assert f"1/{count}" in finding.message


def test_without_the_number_of_processes_the_blocks_tell_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8)

    def keep(tensors: dict[str, FakeTensor]) -> None:
        for name, tensor in tensors.items():
            if ".lora_B." in name:
                tensors[name] = tensor._replace(data=tensor.data[:128] + bytes(len(tensor.data) - 128))

    edit_tensors(Path(run, "checkpoint-300", FILE), keep)
    (finding,) = check(run, "weights/rank-slice")
    assert "one of 4 processes" in finding.message


def test_zero_rows_in_one_matrix_only_are_no_rank_slice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8, world=2)
    change(run, 300, f"{Q0}.lora_B.weight", 256, bytes(256))
    assert not check(run, "weights/rank-slice")


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


def test_an_adapter_without_tensors_is_hollow(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: tensors.clear())
    (finding,) = check(run, "weights/hollow")
    assert "no tensor at all" in finding.message


def test_tensors_of_zero_size_are_hollow(run: str) -> None:
    def empty(tensors: dict[str, FakeTensor]) -> None:
        for name in list(tensors):
            tensors[name] = FakeTensor("F32", (0,), b"")

    edit_tensors(Path(run, "checkpoint-300", FILE), empty)
    (finding,) = check(run, "weights/hollow")
    assert "8 of 8 tensors" in finding.message


def test_an_empty_buffer_of_a_full_model_is_not_hollow(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    edit_tensors(
        Path(run, "checkpoint-300", "model.safetensors"),
        lambda tensors: tensors.update({"model.cache": FakeTensor("F32", (0, 4), b"")}),
    )
    assert not check(run, "weights/hollow")


def test_a_sound_run_passes_all_rules_on_values(run: str) -> None:
    for rule in ("not-finite", "untrained", "zero-run", "rank-slice", "outlier", "hollow"):
        assert outcome(run, f"weights/{rule}", "checkpoint-300").outcome is Outcome.PASS
