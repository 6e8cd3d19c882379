"""``assert_sound``: quiet on a sound run, clear about any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import AuditError, verify
from audit.testing.runs import make_run
from audit_rules.files import missing_optimizer
from pytest_audit import assert_sound
from tests.plugins.pytest_audit.conftest import Snapshot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "model", (100, 200), layers=1))


def test_a_sound_run_passes_and_gives_its_report(path: Path) -> None:
    assert assert_sound(path).resume_from == "checkpoint-200"
    assert assert_sound(str(path), depth="quick").depth == "quick"


def test_an_error_is_told_with_what_to_do(path: Path) -> None:
    (path / "checkpoint-200" / "optimizer.pt").unlink()

    with pytest.raises(AssertionError) as caught:
        assert_sound(path)

    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} is not sound"
    assert "error  files/missing-optimizer  checkpoint-200/optimizer.pt" in lines
    assert any(line.startswith("    -> ") for line in lines)
    assert lines[-1] == "Resume from checkpoint-100."


def test_a_warning_fails_unless_it_is_allowed(path: Path) -> None:
    (path / "checkpoint-200" / "rng_state.pth").unlink()

    with pytest.raises(AssertionError, match="warning  files/missing-rng-state"):
        assert_sound(path)
    assert assert_sound(path, warnings=True).verdict == "suspect"


def test_rules_may_be_chosen(path: Path) -> None:
    (path / "checkpoint-200" / "optimizer.pt").unlink()

    assert assert_sound(path, ignore=["files"]).outcomes
    assert assert_sound(path, select=["loss", "steps/gap"]).outcomes


def test_a_report_that_is_there_is_not_made_again(path: Path) -> None:
    report = verify(str(path))

    assert assert_sound(report) is report


def test_a_rule_that_crashes_is_no_proof(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(checkpoint: Any) -> Any:
        raise ValueError("no such luck")

    rule = missing_optimizer.missing_optimizer
    monkeypatch.setattr(missing_optimizer, "missing_optimizer", rule._replace(function=crash, needs=()))

    with pytest.raises(AssertionError, match="rule files/missing-optimizer crashed: ValueError: no such luck"):
        assert_sound(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": "deep"}, "neither quick nor full"),
        ({"select": ["fles"]}, "did you mean 'files'"),
        ({"select": ["files"], "ignore": ["files"]}, "nothing would be judged"),
    ],
)
def test_options_that_mean_nothing_are_refused(path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(AuditError, match=said):
        assert_sound(path, **options)


def test_rules_about_something_else_than_runs_prove_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = missing_optimizer.missing_optimizer
    monkeypatch.setattr(missing_optimizer, "missing_optimizer", rule._replace(scope="plan"))

    with pytest.raises(AuditError, match="nothing would be judged"):
        assert_sound(path, select=["files/missing-optimizer"])


def test_what_cannot_be_judged_is_no_assertion(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no such run"):
        assert_sound(tmp_path / "nowhere")


def test_nothing_is_written_into_the_run(path: Path, snapshot: Callable[[Path], Snapshot]) -> None:
    before = snapshot(path)

    assert_sound(path)

    assert snapshot(path) == before
