"""Numbers with which an optimizer makes NaN or learns nothing are refused, and those that train are not."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training.trial import tried
from tests.backends.hf_trainer.needing import refused, request_of

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

LORA = {"r": 4, "target_modules": ["q_proj"]}
LARGE = {"random": {"vocab_size": 2000}}
EPSILON = "arguments.adam_epsilon: a weight whose gradient is 0 becomes NaN (0 / 0)"


def told(run: Path, arguments: dict[str, Any], **more: Any) -> str:
    """The refusal, or the note."""
    try:
        return tried(request_of(run, arguments, **more)) or ""
    except ConfigError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("value", [0.0, 1e-60])
def test_an_adapter_begins_with_gradients_of_0(tmp_path: Path, value: float) -> None:
    assert told(tmp_path, {"adam_epsilon": value}, adapter=LORA).startswith(f"refused: {EPSILON}, and at first")


@pytest.mark.parametrize(
    "arguments",
    [{"adam_epsilon": 1e-30}, {"adam_epsilon": 0.0, "optim": "sgd"}, {"adam_epsilon": 0.0, "optim": "adafactor"}],
    ids=["small", "sgd", "adafactor"],
)
def test_what_makes_no_nan_is_not_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    assert told(tmp_path, arguments, adapter=LORA) == ""


@pytest.mark.parametrize("init", [False, "pissa", "olora", "orthogonal"])
def test_an_adapter_that_does_not_begin_at_0_is_only_noted(tmp_path: Path, init: Any) -> None:
    assert told(tmp_path, {"adam_epsilon": 0.0}, adapter={**LORA, "init_lora_weights": init}) == EPSILON


def test_a_whole_model_has_embeddings_of_tokens_that_a_step_has_none_of(tmp_path: Path) -> None:
    def whole(**model: Any) -> str:
        return told(tmp_path, {"adam_epsilon": 0.0}, model={"random": {**LARGE["random"], **model}})

    assert whole().startswith(f"refused: {EPSILON}, and so do the embeddings of tokens")
    assert whole(tie_word_embeddings=True) == EPSILON  # the output gives all of them a gradient
    assert whole(vocab_size=96) == EPSILON  # a step may have them all


def test_with_a_rate_of_0_nothing_is_learned(tmp_path: Path) -> None:
    said = "arguments.learning_rate: with 0 nothing is learned"
    request = request_of(tmp_path, {"learning_rate": 0.0})
    resumed = request._replace(resume_from="checkpoint-4")

    assert refused(request) == said
    assert refused(resumed) == ""  # the rate of the checkpoint counts
    assert refused(resumed._replace(changes={"learning_rate": 0.0})) == said
    assert refused(request_of(tmp_path, {"learning_rate": 0.0}, trainer={"factory": "mine:make", "modules": "."})) == ""


def test_a_schedule_that_divides_by_0_is_refused(tmp_path: Path) -> None:
    arguments = {"lr_scheduler_type": "inverse_sqrt", "lr_scheduler_kwargs": {"timescale": 0}}
    assert told(tmp_path, arguments) == "refused: arguments.lr_scheduler_type: division by zero"


@pytest.mark.parametrize("said", ["You need to pass a model to", "You need to pass a `model` in order"])
def test_an_optimizer_that_is_made_for_a_real_model_is_not_refused_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def refuse(arguments: Any) -> None:
        raise ValueError(said)

    monkeypatch.setattr("transformers.Trainer.get_optimizer_cls_and_kwargs", staticmethod(refuse))
    assert told(tmp_path, {}, adapter=LORA) == ""
