from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_state, make_run
from tests.audit.batch_rows import leg, tell


def test_an_epoch_that_goes_back_is_an_info_for_the_first_checkpoint_that_shows_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (200, 300):
        edit_state(
            tmp_path / f"checkpoint-{step}",
            log_history=lambda log: [{**item, "epoch": item["epoch"] - 0.3 * (item["step"] > 100)} for item in log],
        )

    (finding,) = check(run, "history/epoch-moved-back")

    assert finding.checkpoint == "checkpoint-200"
    assert finding.severity is Severity.INFO
    assert "after step 100: training was resumed" in finding.message


def test_of_several_the_first_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100,))
    edit_state(
        tmp_path / "checkpoint-100",
        log_history=lambda log: [
            {**item, "epoch": item["epoch"] - 0.3 * (item["step"] > 30) - 0.3 * (item["step"] > 60)} for item in log
        ],
    )

    (finding,) = check(run, "history/epoch-moved-back")

    assert "after step 30, and 1 more times" in finding.message


def test_what_the_last_entry_of_a_checkpoint_shows_is_not_said_of_the_next_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (200, 300):
        edit_state(
            tmp_path / f"checkpoint-{step}",
            log_history=lambda log: [{**item, "epoch": item["epoch"] - 0.3 * (item["step"] > 190)} for item in log],
        )

    assert [finding.checkpoint for finding in check(run, "history/epoch-moved-back")] == ["checkpoint-200"]


def test_an_epoch_that_stands_still_is_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100,))
    edit_state(tmp_path / "checkpoint-100", log_history=lambda log: [{**item, "epoch": 1.0} for item in log])

    assert check(run, "history/epoch-moved-back") == []


def test_a_log_without_epochs_is_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100,))
    edit_state(tmp_path / "checkpoint-100", log_history=[{"loss": 1.0, "step": 10}])

    assert outcome(run, "history/epoch-moved-back", "checkpoint-100").outcome is Outcome.NOT_APPLICABLE


def test_an_epoch_that_goes_back_where_the_ledger_says_that_a_leg_begins_is_as_it_should_be(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (200, 300):
        edit_state(
            tmp_path / f"checkpoint-{step}",
            log_history=lambda log: [{**item, "epoch": item["epoch"] - 0.3 * (item["step"] > 110)} for item in log],
        )
    tell(run, leg("monday", 0, 105))
    assert len(check(run, "history/epoch-moved-back")) == 1

    tell(run, leg("tuesday", 115, 300))
    assert check(run, "history/epoch-moved-back") == []
