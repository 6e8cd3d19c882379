"""Weights of another type."""

from pathlib import Path
from struct import pack, unpack

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

FILE = "adapter_model.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_an_adapter_stored_in_half_precision_is_a_warning(run: str) -> None:
    def halve(tensors: dict[str, FakeTensor]) -> None:
        for name, tensor in tensors.items():
            values = unpack(f"<{len(tensor.data) // 4}f", tensor.data)
            tensors[name] = FakeTensor("F16", tensor.shape, pack(f"<{len(values)}e", *values))

    edit_tensors(Path(run, "checkpoint-200", FILE), halve)
    first, second = check(run, "weights/dtype-changed")
    assert {first.checkpoint, second.checkpoint} == {"checkpoint-200", "checkpoint-300"}
    assert "8 of 8 tensors" in first.message
    assert first.severity is Severity.WARNING


def test_the_same_type_at_each_step_passes(run: str) -> None:
    assert outcome(run, "weights/dtype-changed", "checkpoint-300").outcome is Outcome.PASS
