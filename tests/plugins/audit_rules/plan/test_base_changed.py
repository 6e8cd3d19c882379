"""plan/base-changed: the adapter goes onto the model that it was trained on, ``base/tiny``."""

from pathlib import Path

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


def test_a_checkpoint_that_names_no_base_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(trained_on(run, None), base_model="base/tiny")
    assert "does not name its base model" in plan.reason


def test_a_backend_that_does_not_say_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(run)
    assert "does not say which model" in plan.reason
