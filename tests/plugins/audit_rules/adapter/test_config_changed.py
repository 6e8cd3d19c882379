"""adapter/config-changed: the configuration against that of the checkpoint before."""

import json
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_json, make_run
from audit_rules.adapter.config_changed import shown
from tests.audit.batch_rows import leg, tell


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def configure(run: str, step: int, **changes: Any) -> None:
    edit_json(Path(run, f"checkpoint-{step}", "adapter_config.json"), **changes)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("lora_alpha", 64, "lora_alpha is 64, was 8"),
        ("use_rslora", True, "use_rslora is True, was False"),
        ("base_model_name_or_path", "other/tiny", "other/tiny, was base/tiny"),
        ("revision", "abc", "revision is abc, was None"),
        ("bias", "all", "bias is all, was none"),
        ("alpha_pattern", {"q_proj": 3}, "alpha_pattern"),
    ],
)
def test_what_decides_the_function_of_the_adapter_is_an_error(run: str, key: str, value: object, told: str) -> None:
    configure(run, 300, **{key: value})
    (finding,) = check(run, "adapter/config-changed")
    assert finding.checkpoint == "checkpoint-300"
    assert told in finding.message
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize("value", ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"])
@pytest.mark.parametrize("steps", [(300,), (100, 200)])
def test_an_initialisation_that_changes_the_base_neither_comes_nor_goes(
    run: str, value: str, steps: tuple[int, ...]
) -> None:
    for step in steps:
        configure(run, step, init_lora_weights=value)
    (finding,) = check(run, "adapter/config-changed")
    assert (finding.checkpoint, finding.severity) == ("checkpoint-300", Severity.ERROR)
    assert "init_lora_weights" in finding.message


@pytest.mark.parametrize("value", ["gaussian", "orthogonal", "eva", "mica", False])
def test_one_that_leaves_the_base_alone_is_a_warning(run: str, value: object) -> None:
    configure(run, 300, init_lora_weights=value)
    (finding,) = check(run, "adapter/config-changed")
    assert finding.severity is Severity.WARNING


def test_another_dropout_is_a_warning(run: str) -> None:
    configure(run, 300, lora_dropout=0.1)
    (finding,) = check(run, "adapter/config-changed")
    assert finding.severity is Severity.WARNING


def test_the_order_of_the_targets_changes_with_every_process(run: str) -> None:
    configure(run, 300, target_modules=["v_proj", "q_proj"])
    assert outcome(run, "adapter/config-changed", "checkpoint-300").outcome is Outcome.PASS


def test_what_another_version_of_peft_writes_is_no_change(run: str) -> None:
    configure(run, 300, peft_version="0.13.0", inference_mode=False, auto_mapping={"a": 1}, lora_bias=False)
    path = Path(run, "checkpoint-300", "adapter_config.json")
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "use_dora"})
    )
    assert not check(run, "adapter/config-changed")


def test_a_base_model_in_another_directory_is_the_same(run: str) -> None:
    for step, place in ((100, "/data/models/tiny"), (200, "/data/models/tiny"), (300, "/mnt/tiny/")):
        configure(run, step, base_model_name_or_path=place)
    assert not check(run, "adapter/config-changed")


def test_a_base_model_of_the_same_weights_may_be_called_otherwise(run: str) -> None:
    configure(run, 300, base_model_name_or_path="/models/of-tuesday")
    assert check(run, "adapter/config-changed")
    base = {"weights": "w"}
    tell(run, {**leg("a", 0, 200), "base": base}, {**leg("b", 200, 300), "base": base})
    assert not check(run, "adapter/config-changed")
    tell(run, {**leg("b", 200, 300), "base": {"weights": "x"}})
    assert check(run, "adapter/config-changed")


def test_a_first_checkpoint_has_nothing_before_it(run: str) -> None:
    assert outcome(run, "adapter/config-changed", "checkpoint-100").outcome is Outcome.NOT_APPLICABLE


def test_another_json_file_in_place_of_the_configuration_is_named(run: str) -> None:
    place = Path(run, "checkpoint-300")
    (place / "adapter_config.json").write_bytes((place / "trainer_state.json").read_bytes())
    (finding,) = check(run, "adapter/config-changed")
    assert "is not an adapter configuration: it has no peft_type" in finding.message


def test_a_long_value_is_shown_up_to_eighty_characters() -> None:
    assert shown("x" * 80) == "x" * 80
    assert shown("x" * 81) == "x" * 77 + "..."
    assert shown(["b", "a"]) == "a, b"
