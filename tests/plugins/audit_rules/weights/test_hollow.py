"""Weights without values."""

from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

FILE = "adapter_model.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_an_adapter_without_tensors_is_hollow(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: tensors.clear())
    (finding,) = check(run, "weights/hollow")
    assert "has no tensors; PEFT saves such a file of a model inside torch.compile or DataParallel" in finding.message
    assert finding.remedy.startswith("Give Trainer the PeftModel itself")
    assert finding.actual == 0


def test_tensors_of_zero_size_are_hollow(run: str) -> None:
    def empty(tensors: dict[str, FakeTensor]) -> None:
        for name in list(tensors):
            tensors[name] = FakeTensor("F32", (0,), b"")

    edit_tensors(Path(run, "checkpoint-300", FILE), empty)
    (finding,) = check(run, "weights/hollow")
    assert "8 of 8 tensors" in finding.message


@pytest.mark.parametrize("name", ["base_model.model.embed.lora_embedding_A", "base_model.model.head.weight"])
def test_one_tensor_without_values_is_hollow(run: str, name: str) -> None:
    edit_tensors(
        Path(run, "checkpoint-300", FILE), lambda tensors: tensors.update({name: FakeTensor("F32", (0,), b"")})
    )
    (finding,) = check(run, "weights/hollow")
    assert f"1 of 9 tensors in {FILE} have no values: {name}" in finding.message


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
