"""plan/base-changed: the adapter goes onto the model that it was trained on, ``base/tiny``."""

from pathlib import Path
from typing import Any

import pytest

from audit.testing.runs import edit_arguments, edit_json, make_run
from tests.plugins.audit_rules.plan.conftest import Planned


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def trained_on(run: str, base: str | None) -> str:
    edit_json(Path(run, "checkpoint-300", "adapter_config.json"), base_model_name_or_path=base)
    return run


@pytest.mark.parametrize("base", ["other/small", "other/tiny", "/models/small"])
def test_another_model_is_an_error(run: str, plan: Planned, base: str) -> None:
    (finding,) = plan(run, base_model=base)
    assert finding.message == f"The base model is planned as {base}, but checkpoint-300 was trained on base/tiny"


@pytest.mark.parametrize(
    ("held", "planned"),
    [
        ("base/tiny", "base/tiny"),
        ("base/tiny", "/models/tiny"),
        ("/old/models/tiny/", "/new/tiny"),
        ("/home/me/.cache/huggingface/hub/models--base--tiny/snapshots/0123abcd", "base/tiny"),
        ("./tiny", "base/tiny"),
    ],
)
def test_the_same_model_in_another_place_is_fine(run: str, plan: Planned, held: str, planned: str) -> None:
    assert not plan(trained_on(run, held), base_model=planned)


def test_random_weights_under_a_trained_adapter_are_an_error(run: str, plan: Planned) -> None:
    (finding,) = plan(run, base_model=None)
    assert "planned with random weights, but checkpoint-300 was trained on base/tiny" in finding.message


def test_random_weights_of_another_seed_are_another_model(run: str, plan: Planned) -> None:
    edit_arguments(Path(trained_on(run, None), "checkpoint-300"), seed=7)
    (finding,) = plan(run, base_model=None, seed=8)
    assert (finding.expected, finding.actual) == (7, 8)
    assert not plan(run, base_model=None, seed=7)


def test_a_whole_model_brings_its_own_weights(tmp_path: Path, plan: Planned) -> None:
    assert not plan(make_run(tmp_path / "whole", full=True), base_model="other/small")
    assert "its own weights" in plan.reason


@pytest.mark.parametrize("base", [None, "", 7])
def test_a_checkpoint_that_names_no_base_is_not_judged(run: str, plan: Planned, base: Any) -> None:
    assert not plan(trained_on(run, base), base_model="base/tiny")
    assert "does not name its base model" in plan.reason


def test_a_backend_that_does_not_say_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(run)
    assert "does not say which model" in plan.reason


BASE = {"kind": "pretrained", "dtype": "auto", "config": "c", "tensors": "t", "weights": "w"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": "x"}, "it has other weights in the same tensors"),
        ({"tensors": "x", "weights": "y"}, "was trained on: it has tensors of other names, types or shapes"),
        ({"config": "x"}, "it has another config.json"),
        ({"dtype": "bfloat16"}, "dtype is bfloat16, was auto"),
        ({"quantization": "{}"}, "quantization is {}, was not set"),
        ({"weights": "x", "commit": "0123456789abcdef"}, "in the same tensors (commit 0123456789ab, was not set)"),
        ({"kind": "random"}, "its weights are planned as random, they were pretrained"),
    ],
)
def test_a_model_that_was_replaced_under_its_name_is_an_error(
    run: str, plan: Planned, changes: dict[str, str], told: str
) -> None:
    assert not plan(run, base_model="base/tiny", recorded=BASE, identity=BASE)
    (finding,) = plan(run, base_model="base/tiny", recorded=BASE, identity={**BASE, **changes})
    assert told in finding.message
    assert finding.severity.value == "error"


def test_the_same_weights_may_be_called_otherwise(run: str, plan: Planned) -> None:
    assert not plan(run, base_model="other/small", recorded=BASE, identity=BASE)


def test_random_weights_are_compared_by_their_sizes_and_seed(run: str, plan: Planned) -> None:
    one = {"kind": "random", "seed": "1", "random.hidden_size": "16"}
    run = trained_on(run, None)
    assert not plan(run, base_model=None, recorded=one, identity=one, seed=1)
    (finding,) = plan(
        run, base_model=None, recorded=one, identity={**one, "seed": "2", "random.hidden_size": "8"}, seed=2
    )
    assert "random.hidden_size is 8, was 16; seed is 2, was 1" in finding.message


def test_of_a_whole_model_the_configuration_and_the_settings_count(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "whole", full=True)
    assert not plan(run, base_model="x", recorded=BASE, identity={**BASE, "weights": "x", "tensors": "y"})
    assert plan(run, base_model="x", recorded=BASE, identity={**BASE, "config": "x"})
    assert plan(run, base_model="x", recorded=BASE, identity={**BASE, "dtype": "float16"})


def test_what_is_not_known_on_both_sides_is_not_compared(run: str, plan: Planned) -> None:
    unknown = {"kind": "pretrained", "dtype": "auto"}
    for recorded, identity in ((None, BASE), (BASE, None), (unknown, BASE), (BASE, unknown)):
        assert not plan(run, base_model="base/tiny", recorded=recorded, identity=identity)
        assert plan(run, base_model="other/small", recorded=recorded, identity=identity)
