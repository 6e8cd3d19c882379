"""The rows of one process only."""

from pathlib import Path

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


@pytest.mark.parametrize(("kept", "count"), [(128, 4), (32, 16)])
def test_without_the_number_of_processes_the_blocks_tell_it(tmp_path: Path, kept: int, count: int) -> None:
    run = make_run(tmp_path / "run", rank=8)

    def keep(tensors: dict[str, FakeTensor]) -> None:
        for name, tensor in tensors.items():
            if ".lora_B." in name:
                tensors[name] = tensor._replace(data=tensor.data[:kept] + bytes(len(tensor.data) - kept))

    edit_tensors(Path(run, "checkpoint-300", FILE), keep)
    (finding,) = check(run, "weights/rank-slice")
    assert f"one of {count} processes" in finding.message


def test_zero_rows_in_one_matrix_only_are_no_rank_slice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8, world=2)
    change(run, 300, f"{Q0}.lora_B.weight", 256, bytes(256))
    assert not check(run, "weights/rank-slice")


def test_one_matrix_alone_does_not_tell_the_number_of_processes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8)

    def keep(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if not name.startswith(Q0)]:
            del tensors[name]
        name = f"{Q0}.lora_B.weight"
        tensors[name] = put(tensors[name], 256, bytes(256))

    edit_tensors(Path(run, "checkpoint-300", FILE), keep)
    assert not check(run, "weights/rank-slice")


def test_matrices_that_are_zero_at_different_ends_are_not_of_one_process(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=8, world=2)

    def halve(tensors: dict[str, FakeTensor]) -> None:
        for name, tensor in tensors.items():
            if ".lora_B." in name:
                tensors[name] = put(tensor, 256 if "q_proj" in name else 0, bytes(256))

    edit_tensors(Path(run, "checkpoint-300", FILE), halve)
    assert not check(run, "weights/rank-slice")
