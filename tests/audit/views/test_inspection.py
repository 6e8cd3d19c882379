"""How a checkpoint stands, as far as that shows without reading its weights."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.findings import Severity, Violation
from audit.hookspecs import hookimpl
from audit.judging.standing import Standing
from audit.manager import load
from audit.options import Options
from audit.rules import Rule
from audit.rules import rule as make_rule
from audit.testing.runs import make_run
from audit.views.inspection import inspect


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_every_state_of_a_checkpoint(run: str) -> None:
    verify(run)
    os.unlink(f"{run}/checkpoint-200/scheduler.pt")
    os.unlink(f"{run}/checkpoint-300/trainer_state.json")
    os.makedirs(f"{run}/checkpoint-400")
    os.utime(f"{run}/checkpoint-400", (1, 1))
    found = inspect(run).standings
    # The seal held scheduler.pt; that it is gone is told by the rule that says it best.
    assert found["checkpoint-100"] == Standing("sealed")
    assert found["checkpoint-200"].state == "broken"
    assert found["checkpoint-300"].state == "in progress"
    assert found["checkpoint-400"] == Standing(
        "incomplete", "trainer_state.json, which the trainer writes last, is not there", True
    )


def test_only_the_checkpoint_that_is_asked_for_is_judged(run: str) -> None:
    found = inspect(f"{run}/checkpoint-200")
    assert list(found.standings) == ["checkpoint-200"]
    assert [item.name for item in found.run.judged] == ["checkpoint-200"]


def test_rules_that_are_switched_off_have_no_say(run: str) -> None:
    os.unlink(f"{run}/checkpoint-300/optimizer.pt")
    assert inspect(run).standings["checkpoint-300"] == Standing("broken", "files/missing-optimizer", True)
    ignoring = inspect(run, Options(ignore=("files/missing-optimizer",)))
    assert ignoring.standings["checkpoint-300"] == Standing("resumable", by_structure=True)


def test_where_a_rule_crashed_nothing_is_known(run: str) -> None:
    def crash(checkpoint: Checkpoint) -> Iterator[Violation]:
        raise ZeroDivisionError
        yield

    rule = make_rule(Severity.ERROR, remedy="Nothing.", id="made/up")(crash)
    os.unlink(f"{run}/checkpoint-300/optimizer.pt")
    found = inspect(run, registry=load([Rules([rule])])).standings
    assert found["checkpoint-200"] == Standing("unknown", "rule made/up crashed", True)
    assert found["checkpoint-300"] == Standing("broken", "files/missing-optimizer", True)


class Rules:
    """A plugin."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules

    @hookimpl
    def audit_rules(self) -> list[Rule]:
        return self._rules


def test_nothing_to_inspect_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no checkpoint-N directory in it"):
        inspect(str(tmp_path))


def test_nothing_is_recorded_whatever_the_options_say(run: str) -> None:
    inspect(run, Options(ledger=True, depth="full"))
    assert not os.path.exists(f"{run}/.audit")
