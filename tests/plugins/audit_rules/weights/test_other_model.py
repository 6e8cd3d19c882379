"""weights/other-model."""

from pathlib import Path
from typing import Any

import pytest

from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_tensors, make_run

RULE = "weights/other-model"
NEWEST = "checkpoint-300"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(str(tmp_path / "run"), full=True)


def weights(run: str) -> str:
    return f"{run}/{NEWEST}/model.safetensors"


def rename_one(tensors: dict[str, Any]) -> None:
    name = min(tensors)
    tensors["another.weight"] = tensors.pop(name)


def test_the_same_model_all_along_is_fine(run: str) -> None:
    assert check(run, RULE, depth="quick") == []
    assert outcome(run, RULE, NEWEST, depth="quick").outcome.value == "pass"


def test_a_tensor_of_another_name_is_another_model(run: str) -> None:
    edit_tensors(weights(run), rename_one)

    (finding,) = check(run, RULE, depth="quick")

    assert finding.checkpoint == NEWEST
    assert finding.blocks_resume
    assert "1 tensors of checkpoint-200 are gone" in finding.message
    assert "1 are new (another.weight)" in finding.message


def test_after_a_change_of_the_arguments_it_is_a_warning(run: str) -> None:
    edit_arguments(f"{run}/{NEWEST}", learning_rate=0.5)
    edit_tensors(weights(run), rename_one)

    (finding,) = check(run, RULE, depth="quick")

    assert (finding.severity.value, finding.blocks_resume) == ("warning", False)


def test_moments_that_do_not_fit_it_tell_that_nobody_changed_it_on_purpose(run: str) -> None:
    edit_arguments(f"{run}/{NEWEST}", learning_rate=0.5)

    def grow(tensors: dict[str, Any]) -> None:
        tensor = tensors["model.embed_tokens.weight"]
        tensors["model.embed_tokens.weight"] = tensor._replace(shape=(48, 16), data=tensor.data[:1024] * 3)

    edit_tensors(weights(run), grow)

    (finding,) = check(run, RULE, depth="quick")

    assert (finding.severity.value, finding.blocks_resume) == ("error", True)


def test_an_adapter_is_not_judged(tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "lora"))

    assert outcome(run, RULE, NEWEST, depth="quick").outcome.value == "not-applicable"


def test_a_file_without_tensors_is_no_other_model(tmp_path: Path) -> None:
    run = make_run(tmp_path / "hollow", full=True)
    edit_tensors(Path(run, "checkpoint-200", "model.safetensors"), lambda tensors: tensors.clear())

    assert check(run, "weights/other-model") == []
