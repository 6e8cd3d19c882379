"""plan/adapter-changed: the planned adapter is the checkpoint's (rank 4, q_proj and v_proj)."""

from pathlib import Path
from typing import Any

import pytest

from audit.testing.runs import edit_json, make_run
from tests.plugins.audit_rules.plan.conftest import Planned

SAME: dict[str, Any] = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "q_proj"], "lora_dropout": 0.0,
    "modules_to_save": None, "use_rslora": False, "rank_pattern": {}, "bias": "none", "init_lora_weights": True,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("r", 8, "r is 8, was 4"),
        ("lora_alpha", 16, "lora_alpha is 16, was 8"),
        ("target_modules", ["q_proj"], "target_modules is q_proj, was q_proj, v_proj"),
        ("modules_to_save", ["lm_head"], "modules_to_save is lm_head, was None"),
        ("use_rslora", True, "use_rslora is True, was False"),
        ("rank_pattern", {"q_proj": 8}, "rank_pattern"),
    ],
)
def test_what_decides_the_function_of_the_adapter_must_not_change(
    run: str, plan: Planned, key: str, value: object, told: str
) -> None:
    (finding,) = plan(run, adapter={**SAME, key: value})
    assert told in finding.message


@pytest.mark.parametrize(
    ("planned", "held"),
    [("pissa", True), (True, "pissa"), ("olora", "pissa"), ("pissa_niter_4", "pissa"), ("gaussian", "corda"),
     ("loftq", False), ("eva", "lora_ga")],
)  # fmt: skip
def test_an_initialisation_that_changes_the_base_can_neither_come_nor_go(
    run: str, plan: Planned, planned: object, held: object
) -> None:
    edit_json(Path(run, "checkpoint-300", "adapter_config.json"), init_lora_weights=held)
    (finding,) = plan(run, adapter={**SAME, "init_lora_weights": planned})
    assert f"init_lora_weights is {planned}, was {held}" in finding.message


@pytest.mark.parametrize(("planned", "held"), [("pissa", "pissa"), ("eva", True), ("gaussian", "orthogonal")])
def test_other_initialisations_may(run: str, plan: Planned, planned: object, held: object) -> None:
    edit_json(Path(run, "checkpoint-300", "adapter_config.json"), init_lora_weights=held)
    assert not plan(run, adapter={**SAME, "init_lora_weights": planned})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_dropout": 0.1},
        {"init_lora_weights": "gaussian"},
        {"target_modules": None},
        {"target_modules": "all-linear"},
        {"target_modules": [f"layer{number}" for number in range(30)]},
        {"a_key_of_tomorrow": 1},
    ],
)
def test_what_may_change_and_what_peft_takes_from_the_model_is_fine(
    run: str, plan: Planned, changes: dict[str, Any]
) -> None:
    assert not plan(run, adapter={**SAME, **changes})
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_numbers_as_keys_are_texts_in_the_file(run: str, plan: Planned) -> None:
    edit_json(Path(run, "checkpoint-300", "adapter_config.json"), rank_pattern={"1": 8})
    assert not plan(run, adapter={**SAME, "rank_pattern": {1: 8}})


def test_patterns_are_compared_as_they_are(run: str, plan: Planned) -> None:
    edit_json(Path(run, "checkpoint-300", "adapter_config.json"), target_modules=".*q_proj")
    assert not plan(run, adapter={**SAME, "target_modules": ".*q_proj"})
    assert plan(run, adapter={**SAME, "target_modules": ".*v_proj"})


def test_a_whole_model_after_an_adapter_is_an_error(run: str, plan: Planned) -> None:
    (finding,) = plan(run, adapter=None)
    assert "The whole model is to be trained, but checkpoint-300 has an adapter" in finding.message


def test_an_adapter_after_a_whole_model_is_an_error(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "whole", full=True)
    (finding,) = plan(run, adapter=SAME)
    assert "An adapter is to be trained, but checkpoint-300 has a whole model" in finding.message
    assert not plan(run, adapter=None)


def test_a_backend_that_does_not_say_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(run)
    assert "does not say which adapter" in plan.reason


def test_a_whole_model_after_a_whole_model_or_after_no_weights_at_all_is_no_change(
    tmp_path: Path, plan: Planned
) -> None:
    run = make_run(tmp_path / "whole", full=True)
    assert not plan(run, adapter=None)
    Path(run, "checkpoint-300", "model.safetensors").unlink()
    assert not plan(run, adapter=None)
