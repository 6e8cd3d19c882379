"""plan/ignored-resume: what can be resumed from is resumed from."""

from pathlib import Path

import pytest

from audit.testing.runs import make_run
from tests.plugins.audit_rules.plan.conftest import Planned


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize("owned", [True, False])
def test_a_plan_that_starts_at_0_beside_a_sound_checkpoint_is_an_error(run: str, plan: Planned, owned: bool) -> None:
    (finding,) = plan(run, first=0, fresh=True, owned=owned)
    assert "checkpoint-300 can be resumed from, but the plan starts at step 0" in finding.message


@pytest.mark.parametrize("value", [False, "", "false", "None"])
def test_a_command_that_is_told_not_to_resume_is_an_error(run: str, plan: Planned, value: object) -> None:
    (finding,) = plan(run, arguments={"resume_from_checkpoint": value})
    assert "arguments.resume_from_checkpoint is" in finding.message


def test_a_command_that_overwrites_the_directory_is_an_error(run: str, plan: Planned) -> None:
    (finding,) = plan(run, arguments={"overwrite_output_dir": True})
    assert "overwrite_output_dir is true" in finding.message


@pytest.mark.parametrize(
    "arguments",
    [
        {"resume_from_checkpoint": True},
        {"resume_from_checkpoint": "run/checkpoint-300"},
        {"resume_from_checkpoint": True, "overwrite_output_dir": True},
        {"overwrite_output_dir": False},
    ],
)
def test_a_command_that_resumes_is_fine(run: str, plan: Planned, arguments: dict[str, object]) -> None:
    assert not plan(run, arguments=arguments)


def test_a_backend_that_resumes_by_itself_is_fine(run: str, plan: Planned) -> None:
    assert not plan(run, owned=True, arguments={"resume_from_checkpoint": False})


def test_what_is_not_said_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(run, arguments={"save_steps": 5})
    assert "has no resume_from_checkpoint" in plan.reason


def test_a_first_training_has_nothing_to_resume_from(plan: Planned) -> None:
    assert not plan(None, arguments={"resume_from_checkpoint": False})
    assert "no checkpoint that could be resumed from" in plan.reason
