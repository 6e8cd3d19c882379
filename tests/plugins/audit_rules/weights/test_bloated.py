"""Storages larger than their tensors."""

from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes

FILE = "adapter_model.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_safetensors_cannot_be_bloated(run: str) -> None:
    assert outcome(run, "weights/bloated", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(("rows", "found"), [(1 << 10, 0), (1 << 17, 1)])
def test_a_slice_saved_with_its_whole_storage_is_bloated(run: str, rows: int, found: int) -> None:
    torch = pytest.importorskip("torch")
    (Path(run) / "checkpoint-300" / FILE).unlink()
    part = torch.ones(rows, 4)[:4]
    torch.save({"base_model.model.q_proj.lora_A.weight": part}, Path(run) / "checkpoint-300" / "adapter_model.bin")
    findings = check(run, "weights/bloated")
    assert len(findings) == found
    assert all("2097152 bytes for tensors of 64 bytes" in finding.message for finding in findings)


@pytest.mark.parametrize(("size", "found"), [(1 << 10, 0), (2 << 20, 1)])
def test_what_belongs_to_no_tensor_counts_as_bloat(run: str, size: int, found: int) -> None:
    (Path(run) / "checkpoint-300" / FILE).unlink()
    part = FakeTensor("F32", (2, 2), b"\0\0\x80?" * 4)
    values = {"q_proj.lora_A.weight": part, "rest": {"left": FakeTensor("U8", (size,), bytes(size))}}
    (Path(run) / "checkpoint-300" / "adapter_model.bin").write_bytes(torch_archive_bytes(values, "adapter_model"))
    assert len(check(run, "weights/bloated")) == found


@pytest.mark.parametrize(("used", "size", "found"), [(600 << 10, 600 << 10, 0), (2 << 20, 2 << 20, 1)])
def test_it_is_more_than_half_as_much_again_and_more_than_a_megabyte(
    run: str, used: int, size: int, found: int
) -> None:
    (Path(run) / "checkpoint-300" / FILE).unlink()
    part = FakeTensor("U8", (used,), bytes(used))
    values = {"q_proj.lora_A.weight": part, "rest": {"left": FakeTensor("U8", (size,), bytes(size))}}
    (Path(run) / "checkpoint-300" / "adapter_model.bin").write_bytes(torch_archive_bytes(values, "adapter_model"))
    assert len(check(run, "weights/bloated")) == found


def test_a_bloated_adapter_is_found_beside_one_that_is_saved_as_safetensors(run: str) -> None:
    place = Path(run, "checkpoint-300")
    (place / "second").mkdir()
    (place / "second" / "adapter_config.json").write_bytes((place / "adapter_config.json").read_bytes())
    part = FakeTensor("F32", (2, 2), b"\0\0\x80?" * 4)
    values = {"q_proj.lora_A.weight": part, "rest": {"left": FakeTensor("U8", (2 << 20,), bytes(2 << 20))}}
    (place / "second" / "adapter_model.bin").write_bytes(torch_archive_bytes(values, "adapter_model"))

    (finding,) = check(run, "weights/bloated")

    assert finding.file == "second/adapter_model.bin"
