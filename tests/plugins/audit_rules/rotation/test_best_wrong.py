from pathlib import Path
from typing import Any

from audit.findings import Outcome, Severity
from audit.ledger.batch_events import LegBegun
from audit.ledger.store import open_ledger
from audit.testing.judging import check, outcome
from audit.testing.run_files import eval_loss
from audit.testing.runs import edit_arguments, edit_state, make_run
from audit_rules.rotation.best_wrong import _SAME
from tests.audit.seals import verified

RULE = "rotation/best-wrong"


def test_a_logged_evaluation_that_is_better_than_the_best_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_metric=eval_loss(100), best_global_step=100)

    (finding,) = check(run, RULE)

    assert finding.severity is Severity.WARNING
    assert finding.checkpoint == "checkpoint-300"
    assert "step 300 gave eval_loss 1.475" in finding.message
    assert finding.actual == eval_loss(100)


def test_the_best_of_all_evaluations_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)

    assert check(run, RULE) == []
    assert outcome(run, RULE, "checkpoint-300").outcome is Outcome.PASS


def test_a_best_that_was_rounded_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_metric=eval_loss(300) * (1 + _SAME / 2))

    assert check(run, RULE) == []


def test_a_value_that_no_evaluation_gave_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_metric=0.001)

    (finding,) = check(run, RULE)

    assert "0.001 is the eval_loss of no logged evaluation" in finding.message


def test_the_value_of_another_step_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_global_step=200)

    (finding,) = check(run, RULE)

    assert "is not the eval_loss of its step 200" in finding.message


def test_a_loss_that_is_maximised_is_reported_once_for_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True, greater_is_better=True)

    (finding,) = check(run, RULE)

    assert finding.checkpoint == "checkpoint-100"
    assert "eval_loss is maximised" in finding.message
    assert outcome(run, RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE


def test_a_metric_of_which_more_is_better_is_compared_the_other_way(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True, metric_for_best_model="runtime", greater_is_better=True)
    for step in (100, 200, 300):
        edit_state(f"{run}/checkpoint-{step}", best_metric=0.25, best_global_step=100)

    assert check(run, RULE) == []

    def longer(log: Any) -> Any:
        return [
            {**item, "eval_runtime": 9.0} if item["step"] == 300 and "eval_runtime" in item else item for item in log
        ]

    edit_state(f"{run}/checkpoint-300", log_history=longer)
    (finding,) = check(run, RULE)
    assert "step 300 gave eval_runtime 9, better than the recorded best 0.25" in finding.message


def test_an_old_transformers_looked_only_at_evaluations_that_were_saved(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (200, 300), save_steps=100, best=True)
    for step in (200, 300):
        edit_state(f"{run}/checkpoint-{step}", remove=["best_global_step"])

    def lower_the_loss_of_100(history: list[dict[str, float]]) -> list[dict[str, float]]:
        return [
            {**entry, "eval_loss": 0.1} if "eval_loss" in entry and entry["step"] == 100 else entry for entry in history
        ]

    for step in (200, 300):
        edit_state(f"{run}/checkpoint-{step}", log_history=lower_the_loss_of_100)

    assert check(run, RULE) == []


def test_without_a_metric_in_the_arguments_nothing_is_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_arguments(f"{run}/checkpoint-300", metric_for_best_model=None)

    assert outcome(run, RULE, "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_what_was_evaluated_on_another_held_out_file_is_not_better(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_metric=eval_loss(300), log_history=_better_at_100)
    assert [item.checkpoint for item in check(run, RULE)] == ["checkpoint-300"]
    verified(run)
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    leg = LegBegun("d" * 64, "a.jsonl", 1, 200, 300, 0, 8, 4, 1, None, 42, None, None, 1, None, held_out="e" * 64)
    ledger.append(leg)

    assert check(run, RULE) == []
    ledger.append(leg._replace(best=(100, 0.5)))
    assert [item.checkpoint for item in check(run, RULE)] == ["checkpoint-300"]
    ledger.close()


def _better_at_100(log: Any) -> Any:
    return [{**item, "eval_loss": 0.5} if item["step"] == 100 and "eval_loss" in item else item for item in log]
