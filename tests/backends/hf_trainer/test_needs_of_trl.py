"""A value that a trainer of trl fails on, some of them only in its first step, is refused with its key."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training.fields import schema
from audit_hf_trainer.training.trial import tried
from tests.backends.hf_trainer.needing import DPO, SFT, refused, request_of

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytest.importorskip("trl", reason="the extra trl is not installed")

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "divergence": (
        DPO,
        {"f_divergence_type": "forward"},
        {"f_divergence_type": "js_divergence"},
        "arguments.f_divergence_type: 'forward' is none of reverse_kl, ",
    ),
    "loss": (DPO, {"loss_type": "sigmoidal"}, {"loss_type": "hinge"}, "arguments.loss_type: 'sigmoidal' is none of "),
    "no loss": (DPO, {"loss_type": ""}, {"loss_type": "sft"}, "arguments.loss_type: '' is none of "),
    "keywords": (
        SFT,
        {"dataset_kwargs": ""},
        {"dataset_kwargs": {"add_special_tokens": False}},
        "arguments.dataset_kwargs: '' is a text; write a table",
    ),
    "one of the losses": (
        DPO,
        {"loss_type": ["sigmoid", "sfd"]},
        {"loss_type": ["sigmoid", "sft"]},
        "arguments.loss_type: 'sfd' is none of ",
    ),
    "truncation": (
        DPO,
        {"truncation_mode": "keep"},
        {"truncation_mode": "keep_end"},
        "arguments.truncation_mode: 'keep' is none of keep_start, keep_end",
    ),
    "padding": (
        SFT,
        {"pad_to_multiple_of": 0},
        {"pad_to_multiple_of": 8},
        "arguments.pad_to_multiple_of: 0 is less than 1",
    ),
    "length from behind": (SFT, {"max_length": 0}, {"max_length": -1}, "arguments.max_length: 0 is less than 2"),
    "length": (SFT, {"max_length": 1}, {"max_length": 2}, "arguments.max_length: 1 is less than 2: nothing is learned"),
    "beta": (DPO, {"beta": 0.0}, {"beta": 0.0, "loss_type": "sft"}, "arguments.beta: with 0 nothing is learned"),
    "weights": (
        DPO,
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.0, 0.0]},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.0, 1.0]},
        "arguments.loss_weights: all are 0",
    ),
    "smoothing": (
        DPO,
        {"loss_type": "robust", "label_smoothing": 0.5},
        {"loss_type": "robust", "label_smoothing": 0.4},
        "arguments.label_smoothing: the loss robust divides by",
    ),
    "tau": (
        DPO,
        {"loss_type": "discopop", "discopop_tau": 0.0},
        {"loss_type": "sigmoid", "discopop_tau": 0.0},
        "arguments.discopop_tau: ",
    ),
    "selective": (
        DPO,
        {"gradient_checkpointing_kwargs": {"selective": True}},
        {"gradient_checkpointing_kwargs": {"use_reentrant": False}},
        "arguments.gradient_checkpointing_kwargs: torch takes no selective",
    ),
}


@pytest.mark.parametrize(("trainer", "bad", "good", "said"), CASES.values(), ids=CASES)
def test_what_trl_fails_on_is_refused_and_its_neighbour_is_not(
    tmp_path: Path, trainer: dict[str, Any], bad: dict[str, Any], good: dict[str, Any], said: str
) -> None:
    assert refused(request_of(tmp_path, {"bf16": False, **bad}, **trainer)).startswith(said)
    assert refused(request_of(tmp_path, {"bf16": False, **good}, **trainer)) == ""


def test_a_keyword_that_trl_takes_out_itself_is_not_refused(tmp_path: Path) -> None:
    given = {"bf16": False, "gradient_checkpointing_kwargs": {"selective": True}}
    assert refused(request_of(tmp_path, given, **SFT)) == ""


def test_losses_may_be_a_text_or_a_list() -> None:
    taken = schema()["arguments"]["properties"]["loss_type"]
    assert taken == {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}


def test_what_trl_refuses_of_the_model_is_named(tmp_path: Path) -> None:
    def told(arguments: dict[str, Any], targets: list[str]) -> str:
        adapter = {"r": 4, "target_modules": targets}
        try:
            return tried(request_of(tmp_path, {"bf16": False, **arguments}, adapter=adapter, **SFT)) or ""
        except ConfigError as error:
            return str(error)

    assert told({}, ["q_proj"]) == ""
    assert told({"router_aux_loss_coef": 0.1}, ["q_proj"]).startswith(
        "arguments.router_aux_loss_coef: is for a mixture"
    )
    assert told({"router_aux_loss_coef": 0.0}, ["q_proj"]) == ""
    assert told({}, ["lm_head"]).startswith("adapter.target_modules: the trainers of trl do not train")
