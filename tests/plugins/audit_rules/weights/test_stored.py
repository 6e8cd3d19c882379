"""weights/prefix, dtype-changed, bloated: how the weights are stored."""

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


def rename(path: Path, prefix: str, at: str = "", only: str = "") -> None:
    def edit(tensors: dict[str, FakeTensor]) -> None:
        for name in list(tensors):
            if only in name:
                tensors[f"{at}{prefix}{name.removeprefix(at)}"] = tensors.pop(name)

    edit_tensors(path, edit)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module."])
def test_names_of_a_wrapper_around_a_full_model_are_found(tmp_path: Path, wrapper: str) -> None:
    run = make_run(tmp_path / "run", full=True)
    rename(Path(run, "checkpoint-300", "model.safetensors"), wrapper)
    (finding,) = check(run, "weights/prefix")
    assert finding.checkpoint == "checkpoint-300"
    assert f"{wrapper}model." in finding.message


def test_names_of_a_wrapper_inside_of_peft_s_are_found(run: str) -> None:
    rename(Path(run, "checkpoint-300", FILE), "_orig_mod.", at="base_model.model.")
    assert len(check(run, "weights/prefix")) == 1


def test_a_part_of_a_plain_module_may_be_called_module(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    for step in (100, 200, 300):
        place = Path(run, f"checkpoint-{step}")
        rename(place / "model.safetensors", "module.")
        (place / "config.json").unlink()
    assert not check(run, "weights/prefix")


def test_one_submodule_called_module_is_not_a_wrapper(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    rename(Path(run, "checkpoint-300", "model.safetensors"), "module.", only="model.norm")
    assert not check(run, "weights/prefix")


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
