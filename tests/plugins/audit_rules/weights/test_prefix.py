"""Names of a wrapper."""

from pathlib import Path

import pytest

from audit.testing.judging import check
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
