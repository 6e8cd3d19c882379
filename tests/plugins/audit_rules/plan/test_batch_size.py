"""plan/batch-size: a step takes as many examples as before."""

from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.runs import edit_arguments, edit_torch, make_run
from audit.testing.torch_files import Made
from tests.plugins.audit_rules.plan.conftest import Planned


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", per_device_train_batch_size=4, gradient_accumulation_steps=4)


def test_more_examples_in_a_step_are_a_warning(run: str, plan: Planned) -> None:
    (finding,) = plan(run, per_step=32)
    assert finding.severity is Severity.WARNING
    assert (finding.expected, finding.actual) == (16, 32)


def test_the_same_number_is_fine_however_it_is_made(run: str, plan: Planned) -> None:
    assert not plan(run, per_step=16)


@pytest.mark.parametrize(("devices", "before"), [(2, 32), (1, 16), (0, 16)])
def test_every_device_of_a_process_takes_its_share(run: str, plan: Planned, devices: int, before: int) -> None:
    edit_arguments(Path(run, "checkpoint-300"), _n_gpu=devices)
    (finding,) = plan(run, per_step=8)
    assert finding.expected == before


def test_every_process_takes_its_share(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "two", world=2, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert not plan(run, per_step=16)
    assert plan(run, per_step=8)


def test_a_planned_number_that_is_not_known_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(run, per_step=None)
    assert "not known" in plan.reason


def test_arguments_without_a_batch_size_are_not_judged(run: str, plan: Planned) -> None:
    edit_arguments(Path(run, "checkpoint-300"), per_device_train_batch_size="many")
    assert not plan(run, per_step=8)
    assert "do not say how many examples" in plan.reason


def test_without_a_word_on_accumulation_there_is_none(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "plain", per_device_train_batch_size=4)

    def forget(made: Made) -> Made:
        return made._replace(state={k: v for k, v in made.state.items() if k != "gradient_accumulation_steps"})

    edit_torch(Path(run, "checkpoint-300", "training_args.bin"), forget)
    assert not plan(run, per_step=4)
    assert plan(run, per_step=8)
