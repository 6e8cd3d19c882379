"""Names that a whole model has on disk only."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Severity
from audit.judging.guard import consult
from audit.testing.judging import check
from audit.testing.runs import edit_arguments, edit_json, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

RULE = "weights/not-loaded"
STEPS = (100, 200, 300)
NEOX = {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "transformers_version": "5.24.0"}


def places(run: str) -> list[Path]:
    return [Path(run, f"checkpoint-{step}") for step in STEPS]


def saved_as(run: str, name: str, **config: Any) -> None:
    """Make the last tensor of every checkpoint one of this name, and the model one of this configuration."""
    for place in places(run):

        def edit(tensors: dict[str, FakeTensor]) -> None:
            tensors[name] = tensors.pop(max(tensors))

        edit_tensors(place / "model.safetensors", edit)
        edit_json(place / "config.json", **{**NEOX, **config})


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", full=True)


def test_a_tensor_that_is_on_disk_under_another_name_is_not_resumed_from(run: str) -> None:
    saved_as(run, "embed_out.weight")

    found = check(run, RULE)

    assert [item.checkpoint for item in found] == [place.name for place in places(run)]
    assert all(item.blocks_resume and item.severity is Severity.WARNING for item in found)
    assert "transformers 5.24.0 saves GPTNeoXForCausalLM under names" in found[0].message
    assert "embed_out.weight" in found[0].message
    assert consult(run).decision.checkpoint is None


def test_layers_are_known_by_their_place_whatever_their_number(run: str) -> None:
    saved_as(
        run,
        "vit.encoder.layer.11.attention.attention.key.weight",
        architectures=["ViTForImageClassification"],
        model_type="vit",
    )
    assert len(check(run, RULE)) == 3


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("lm_head.weight", {}),
        ("embed_out.weight", {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}),
        ("embed_out.weight", {"architectures": ["MyGPTNeoX"]}),
        ("embed_out.weight", {"architectures": [{}], "model_type": []}),
        ("embed_out.weight", {"architectures": None}),
        ("embed_out.weight", {"architectures": []}),
        ("embed_out.weight", {"transformers_version": "4.30.2"}),
        ("embed_out.weight", {"transformers_version": "5.99.0"}),
        ("embed_out.weight", {"transformers_version": "five"}),
        ("embed_out.weight", {"transformers_version": 5.24}),
    ],
)
def test_names_of_memory_and_models_that_nobody_looked_at_are_not_found(
    run: str, name: str, config: dict[str, Any]
) -> None:
    saved_as(run, name, **config)
    assert not check(run, RULE)


def test_what_sentence_transformers_saved_it_loads_by_itself(run: str) -> None:
    saved_as(run, "embed_out.weight")
    for place in places(run):
        (place / "modules.json").write_text("[]")
    assert not check(run, RULE)


def test_a_program_that_loads_them_is_seen_by_the_tensors_themselves(run: str) -> None:
    saved_as(run, "embed_out.weight")
    edit_arguments(places(run)[-1], dataloader_num_workers=3)  # the run was resumed after checkpoint-200
    before, after = (place / "model.safetensors" for place in places(run)[1:])

    begun: dict[str, FakeTensor] = {}
    edit_tensors(places(run)[0] / "model.safetensors", begun.update)
    shutil.copy(before, after)
    edit_tensors(after, lambda tensors: tensors.update({"embed_out.weight": begun["embed_out.weight"]}))
    assert all(item.blocks_resume for item in check(run, RULE)), "all others continued, this one began again"

    shutil.copy(before, after)
    found = check(run, RULE)
    assert [item.severity for item in found] == [Severity.INFO] * 3
    assert not any(item.blocks_resume for item in found)
