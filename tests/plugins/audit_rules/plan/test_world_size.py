"""plan/world-size: as many processes as before."""

from pathlib import Path

from audit.findings import Severity
from audit.testing.runs import make_run
from tests.plugins.audit_rules.plan.conftest import Planned
from tests.zero import make_zero


def test_another_number_of_processes_is_a_warning(tmp_path: Path, plan: Planned) -> None:
    (finding,) = plan(make_run(tmp_path / "run", world=2), owned=True, processes=1)
    assert finding.severity is Severity.WARNING
    assert (finding.expected, finding.actual) == (2, 1)
    assert "1 process will train, but checkpoint-300 was trained by 2" in finding.message


def test_as_many_as_before_is_fine(tmp_path: Path, plan: Planned) -> None:
    assert not plan(make_run(tmp_path / "run", world=2), owned=True, processes=2)


def test_without_arguments_the_random_states_are_counted(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", world=2)
    (tmp_path / "run/checkpoint-300/training_args.bin").unlink()
    (finding,) = plan(run, owned=True, processes=4)
    assert finding.expected == 2


def test_a_command_starts_its_processes_itself(tmp_path: Path, plan: Planned) -> None:
    assert not plan(make_run(tmp_path / "run", world=2), owned=False, processes=1)
    assert "starts the processes itself" in plan.reason


def test_a_fresh_start_has_nothing_to_differ_from(plan: Planned) -> None:
    assert not plan(None, owned=True, processes=4)
    assert "starts fresh" in plan.reason


def test_zero_cannot_be_resumed_by_another_number(tmp_path: Path, plan: Planned) -> None:
    (finding,) = plan(str(make_zero(tmp_path / "run", (300,))), owned=True, processes=4)
    assert finding.severity is Severity.ERROR
    assert "as many processes as saved them only" in finding.message
