"""Zeros where values should be."""

import shutil
from pathlib import Path
from struct import pack

import pytest

from audit.testing.judging import check
from audit.testing.runs import edit_optimizer, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

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


def test_a_matrix_of_zeros_is_lost_if_it_had_values_before(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    full, none = (FakeTensor("F32", (64, 64), pack("<4096f", *([value] * 4096))) for value in (0.5, 0.0))

    def put(tensor: FakeTensor, *steps: int) -> None:
        for step in steps:
            place = Path(run, f"checkpoint-{step}", "model.safetensors")
            edit_tensors(place, lambda tensors: tensors.update({"big.weight": tensor}))

    put(none, 100, 200, 300)
    assert not check(run, "weights/zero-run")
    put(full, 100, 200)
    (finding,) = check(run, "weights/zero-run")
    assert "all of big.weight" in finding.message


def test_a_full_model_of_nothing_but_zeros_blocks_a_resume(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,), full=True)
    edit_tensors(Path(run, "checkpoint-100", "model.safetensors"), lambda tensors: zero(tensors, ""))
    (finding,) = check(run, "weights/zero-run")
    assert "every value in model.safetensors is zero" in finding.message
    assert finding.blocks_resume


def test_the_zero_lora_b_of_an_inactive_adapter_is_legitimate_beside_a_lost_one(run: str) -> None:
    for step in (100, 200, 300):
        second = Path(run, f"checkpoint-{step}", "second")
        second.mkdir()
        for name in (FILE, "adapter_config.json"):
            shutil.copyfile(Path(run, "checkpoint-100", name), second / name)
        edit_tensors(second / FILE, lambda tensors: zero(tensors, ".lora_B."))
    assert not check(run, "weights/zero-run")
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, "layers.0.self_attn.q_proj.lora_B"))
    (finding,) = check(run, "weights/zero-run")
    assert finding.file == FILE


def test_a_file_of_an_embedding_alone_that_is_all_zeros_is_lost(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,), full=True)

    def keep(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if "embed_tokens" not in name]:
            del tensors[name]
        zero(tensors, "")

    edit_tensors(Path(run, "checkpoint-100", "model.safetensors"), keep)
    (finding,) = check(run, "weights/zero-run")
    assert "every value in model.safetensors is zero" in finding.message
