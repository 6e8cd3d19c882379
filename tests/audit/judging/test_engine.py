"""The engine gives every rule an outcome, reports one root cause once, and survives a rule that crashes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegData, LegRequest
from audit.errors import AuditError, NotApplicable, PluginError
from audit.facts.plan import Plan
from audit.facts.run import Run, open_run
from audit.findings import Outcome, Severity, Violation
from audit.judging.engine import judge
from audit.manager import load
from audit.rules import Rule, rule


@pytest.fixture
def run(tmp_path: Path) -> Run:
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
    return open_run(str(tmp_path), load().backends)


def made(id: str, function: Any, **options: Any) -> Rule:
    return rule(options.pop("severity", Severity.ERROR), id=id, remedy="Do something.", **options)(function)


def outcomes(run: Run, *rules: Rule) -> list[tuple[str, str | None, str]]:
    return [(item.rule, item.checkpoint, item.outcome.value) for item in judge(run, rules).outcomes]


def every(checkpoint: Any) -> Iterator[Violation]:
    """Every checkpoint is bad."""
    yield Violation(f"{checkpoint.name} is bad")


def second(checkpoint: Any) -> Iterator[Violation]:
    """The second checkpoint is bad."""
    if checkpoint.step == 2:
        yield Violation("is the second")


def test_a_rule_over_checkpoints_has_an_outcome_for_each(run: Run) -> None:
    assert outcomes(run, made("x/second", second)) == [
        ("x/second", "checkpoint-1", "pass"),
        ("x/second", "checkpoint-2", "fail"),
    ]


def test_the_engine_fills_in_rule_severity_and_place(run: Run) -> None:
    (finding,) = judge(run, [made("x/second", second, blocks_resume=True)]).findings

    assert (finding.rule, finding.severity, finding.checkpoint) == ("x/second", Severity.ERROR, "checkpoint-2")
    assert (finding.blocks_resume, finding.remedy) == (True, "Do something.")


@pytest.mark.parametrize(("logged", "told"), [(7, 7), (0, 0), (-7, None), (None, None)])
def test_a_finding_says_its_step_if_that_can_be_one(run: Run, logged: int | None, told: int | None) -> None:
    def placed(run: Any) -> Iterator[Violation]:
        """Something is wrong at a step."""
        yield Violation("is wrong", step=logged)

    (finding,) = judge(run, [made("x/placed", placed)]).findings

    assert finding.step == told


def test_a_missing_fact_makes_a_rule_not_applicable_with_the_reason(run: Run) -> None:
    def needy(checkpoint: Any, state: Any) -> Iterator[Violation]:
        """Needs a state."""
        yield Violation("never")

    judged = judge(run, [made("x/needy", needy)])

    assert not judged.findings
    assert {item.outcome for item in judged.outcomes} == {Outcome.NOT_APPLICABLE}
    assert all(item.reason for item in judged.outcomes)


def test_a_rule_may_find_that_it_has_nothing_to_judge(run: Run) -> None:
    def choosy(run: Any) -> Iterator[Violation]:
        """Says so."""
        raise NotApplicable("not enough data")
        yield

    (item,) = judge(run, [made("x/choosy", choosy)]).outcomes

    assert (item.outcome, item.reason) == (Outcome.NOT_APPLICABLE, "not enough data")


def test_a_crash_is_an_error_outcome_and_the_others_still_run(run: Run) -> None:
    def crashing(run: Any) -> Iterator[Violation]:
        """Crashes."""
        raise ZeroDivisionError("oops")
        yield

    judged = judge(run, [made("x/crashing", crashing), made("x/second", second)])

    assert [item.reason.split(" (")[0] for item in judged.outcomes if item.reason] == ["ZeroDivisionError: oops"]
    assert [finding.rule for finding in judged.findings] == ["x/second"]


def test_a_consequence_is_left_out_where_its_cause_is_named(run: Run) -> None:
    effect = made("x/effect", every, explained_by=("x/second",))

    judged = judge(run, [effect, made("x/second", second)])

    assert [(item.rule, item.checkpoint) for item in judged.findings] == [
        ("x/effect", "checkpoint-1"),
        ("x/second", "checkpoint-2"),
    ]
    reasons = {item.reason for item in judged.outcomes if item.outcome is Outcome.NOT_APPLICABLE}
    assert reasons == {"explained by x/second"}


def test_a_warning_does_not_explain_an_error_away(run: Run) -> None:
    effect = made("x/effect", second, explained_by=("x/cause",), blocks_resume=True)

    judged = judge(run, [effect, made("x/cause", second, severity=Severity.WARNING)])

    assert {item.rule for item in judged.findings} == {"x/effect", "x/cause"}


def test_a_cause_blocks_in_place_of_the_consequence_that_it_explains(run: Run) -> None:
    effect = made("x/effect", second, explained_by=("x/cause",), blocks_resume=True)

    (finding,) = judge(run, [effect, made("x/cause", second)]).findings

    assert (finding.rule, finding.blocks_resume) == ("x/cause", True)


def test_a_cause_over_the_whole_run_explains_every_checkpoint(run: Run) -> None:
    def whole(run: Any) -> Iterator[Violation]:
        """Fires."""
        yield Violation("all is lost")

    judged = judge(run, [made("x/effect", every, explained_by=("x/whole",)), made("x/whole", whole)])

    assert [item.rule for item in judged.findings] == ["x/whole"]


def test_a_run_rule_may_accuse_one_checkpoint_and_then_explains_only_there(run: Run) -> None:
    def accuse(run: Any) -> Iterator[Violation]:
        """Accuses the first."""
        yield Violation("this one", checkpoint="checkpoint-1")

    judged = judge(run, [made("x/effect", every, explained_by=("x/accuse",)), made("x/accuse", accuse)])

    assert [(item.rule, item.checkpoint) for item in judged.findings] == [
        ("x/accuse", "checkpoint-1"),
        ("x/effect", "checkpoint-2"),
    ]


def test_rules_that_explain_each_other_in_a_circle_are_refused(run: Run) -> None:
    with pytest.raises(AuditError, match="explains itself"):
        judge(run, [made("x/a", every, explained_by=("x/b",)), made("x/b", second, explained_by=("x/a",))])


def test_thresholds_and_severities_come_from_the_configuration(run: Run) -> None:
    def above(checkpoint: Any, *, limit: int = 5) -> Iterator[Violation]:
        """Steps above a limit."""
        if checkpoint.step > limit:
            yield Violation("is above")

    rules = [made("x/above", above)]

    assert not judge(run, rules).findings
    (finding,) = judge(run, rules, {"x/above": {"limit": 1}}, {"x/above": Severity.INFO}).findings
    assert (finding.checkpoint, finding.severity) == ("checkpoint-2", Severity.INFO)


def test_a_rule_needs_a_scope_and_defaults_for_its_thresholds() -> None:
    def scopeless(thing: Any) -> Iterator[Violation]:
        """No."""
        yield Violation("x")

    def without_default(run: Any, *, limit: int) -> Iterator[Violation]:
        """No."""
        yield Violation("x")

    for function, message in ((scopeless, "first parameter"), (without_default, "needs a default")):
        with pytest.raises(PluginError, match=message):
            made("x/y", function)


def test_a_rule_of_last_resort_is_silent_where_another_finding_blocks_the_checkpoint(run: Run) -> None:
    def resort(checkpoint: Any) -> Iterator[Violation]:
        """Accuses a file of both."""
        yield Violation("is another one", file="b")

    rules = [made("x/resort", resort, explained_by=("*",)), made("x/second", second, blocks_resume=True)]

    assert [(item.rule, item.checkpoint) for item in judge(run, rules).findings] == [
        ("x/resort", "checkpoint-1"),
        ("x/second", "checkpoint-2"),
    ]


def test_what_a_rule_of_last_resort_would_have_blocked_stays_blocked(run: Run) -> None:
    def other(checkpoint: Any) -> Iterator[Violation]:
        """Accuses a file, without blocking."""
        yield Violation("looks odd", file="a")

    def resort(checkpoint: Any) -> Iterator[Violation]:
        """Accuses the same file."""
        yield Violation("is another one", file="a")

    rules = [
        made("x/resort", resort, explained_by=("*",), blocks_resume=True),
        made("x/other", other, severity=Severity.WARNING),
    ]

    assert {(item.rule, item.blocks_resume) for item in judge(run, rules).findings} == {("x/other", True)}


def test_a_rule_of_last_resort_is_silent_where_another_accuses_the_same_file(run: Run) -> None:
    def other(checkpoint: Any) -> Iterator[Violation]:
        """Accuses a file of the second checkpoint."""
        if checkpoint.step == 2:
            yield Violation("is cut", file="a")

    def resort(checkpoint: Any) -> Iterator[Violation]:
        """Accuses two files."""
        yield Violation("is another one", file="a")
        yield Violation("is another one", file="b")

    judged = judge(run, [made("x/resort", resort, explained_by=("*",)), made("x/second", other)])

    assert [(item.rule, item.checkpoint, item.file) for item in judged.findings] == [
        ("x/resort", "checkpoint-1", "a"),
        ("x/resort", "checkpoint-1", "b"),
        ("x/resort", "checkpoint-2", "b"),
        ("x/second", "checkpoint-2", "a"),
    ]


# -- plans ------------------------------------------------------------------------------------------------------------


def against(plan: Any) -> Iterator[Violation]:
    """The plan is bad."""
    yield Violation(f"{plan.file} is bad")


def planned(file: str | None = "a.jsonl") -> Plan:
    return Plan(LegRequest("run", None, 0, 10, LegData("a.jsonl")), load().trainers[0], file=file)


def test_a_run_is_judged_by_no_rule_for_plans_and_a_plan_by_no_other(run: Run) -> None:
    rules = [made("x/plan", against), made("x/every", every)]

    assert {item.rule for item in judge(run, rules).outcomes} == {"x/every"}
    assert {item.rule for item in judge(planned(), rules).outcomes} == {"x/plan"}


def test_a_finding_against_a_plan_names_its_data_file() -> None:
    (finding,) = judge(planned(), [made("x/plan", against)]).findings

    assert (finding.checkpoint, finding.file, finding.message) == (None, "a.jsonl", "a.jsonl is bad")


def test_what_a_plan_does_not_say_is_not_applicable_with_the_reason() -> None:
    def needs(plan: Any, steps: int) -> Iterator[Violation]:
        """Wants to know how long it takes."""
        yield Violation(str(steps))

    (outcome,) = judge(planned(file=None), [made("x/needs", needs)]).outcomes

    assert (outcome.outcome, outcome.reason) == (Outcome.NOT_APPLICABLE, "no data file waits")
