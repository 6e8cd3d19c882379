"""Names of a wrapper."""

import re
import shutil
from pathlib import Path

import pytest

from audit.findings import Severity
from audit.judging.guard import consult
from audit.testing.judging import check
from audit.testing.runs import edit_arguments, edit_json, edit_tensors, make_run
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


STEPS = (100, 200, 300)
PEFT = "base_model.model."


def everywhere(run: str, prefix: str, at: str = "", file: str = FILE) -> None:
    for step in STEPS:
        rename(Path(run, f"checkpoint-{step}", file), prefix, at)


@pytest.mark.parametrize(
    ("prefix", "at"),
    [
        ("_orig_mod.", ""),
        ("module.", ""),
        ("_orig_mod.module.", ""),
        ("_orig_mod.", "base_model."),
        ("module.", "base_model."),
        ("_orig_mod.", PEFT),
        ("module.", PEFT),
    ],
)
def test_an_adapter_under_a_wrapper_s_name_is_not_resumed_from(run: str, prefix: str, at: str) -> None:
    everywhere(run, prefix, at)

    found = check(run, "weights/prefix")

    assert [item.checkpoint for item in found] == [f"checkpoint-{step}" for step in STEPS]
    assert all(item.blocks_resume and item.severity is Severity.ERROR for item in found)
    assert str(found[0].expected).startswith("base_model.model.model.layers")
    assert consult(run).decision.checkpoint is None


def per_layer(path: Path) -> None:
    def edit(tensors: dict[str, FakeTensor]) -> None:
        for name in list(tensors):
            tensors[re.sub(r"(layers\.[0-9]+)\.", r"\1._orig_mod.", name)] = tensors.pop(name)

    edit_tensors(path, edit)


@pytest.mark.parametrize("full", [True, False])
def test_layers_that_were_compiled_one_by_one_are_loaded_by_their_program(tmp_path: Path, full: bool) -> None:
    run = make_run(tmp_path / "run", full=full)
    for step in STEPS:
        per_layer(Path(run, f"checkpoint-{step}", "model.safetensors" if full else FILE))
    assert not check(run, "weights/prefix")


def test_names_that_had_no_wrapper_in_the_checkpoint_before_are_not_loaded(run: str) -> None:
    per_layer(Path(run, "checkpoint-300", FILE))

    (finding,) = check(run, "weights/prefix")

    assert "but not in checkpoint-200" in finding.message
    assert consult(run).decision.checkpoint == "checkpoint-200"


def test_a_base_model_that_was_compiled_before_it_got_its_adapter_is_recorded_by_peft(run: str) -> None:
    everywhere(run, "_orig_mod.", PEFT)
    for step in STEPS:
        mapping = {"base_model_class": "OptimizedModule", "parent_library": "torch._dynamo.eval_frame"}
        edit_json(Path(run, f"checkpoint-{step}", "adapter_config.json"), auto_mapping=mapping)
    assert not check(run, "weights/prefix")


def test_a_wrapper_around_the_adapter_itself_is_loaded_by_nobody_whatever_peft_recorded(run: str) -> None:
    everywhere(run, "_orig_mod.")
    for step in STEPS:
        edit_json(
            Path(run, f"checkpoint-{step}", "adapter_config.json"), auto_mapping={"base_model_class": "OptimizedModule"}
        )

    found = check(run, "weights/prefix")

    assert len(found) == 3
    assert all("PEFT loads none of them" in item.message for item in found)


def test_a_run_that_was_resumed_with_these_names_loads_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    everywhere(run, "_orig_mod.", file="model.safetensors")
    assert all(item.blocks_resume for item in check(run, "weights/prefix"))

    edit_arguments(Path(run, "checkpoint-300"), dataloader_num_workers=3)
    assert all(item.blocks_resume for item in check(run, "weights/prefix")), (
        "the weights are other ones after the resume"
    )
    shutil.copy(Path(run, "checkpoint-200", "model.safetensors"), Path(run, "checkpoint-300"))
    found = check(run, "weights/prefix")
    assert [item.severity for item in found] == [Severity.INFO] * 3
    assert not any(item.blocks_resume for item in found)


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
