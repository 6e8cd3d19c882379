from pathlib import Path

from audit.testing.judging import check, report
from audit.testing.runs import edit_state, make_run


def test_an_entry_after_the_step_of_the_checkpoint_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [*log, {**log[-1], "step": 310}])

    (finding,) = check(run, "history/beyond-step")

    assert (finding.expected, finding.actual) == (300, 310)


def test_the_last_of_them_is_named_though_the_log_does_not_end_with_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(
        tmp_path / "checkpoint-300",
        log_history=lambda log: [*log, {**log[-1], "step": 320}, {**log[-1], "step": 310}],
    )

    assert [item.actual for item in check(run, "history/beyond-step")] == [320]


def test_a_step_set_back_is_seen_even_where_no_entry_is_fresh(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", global_step=100, log_history=lambda log: log[:20])

    assert [item.actual for item in check(run, "history/beyond-step")] == [200]
    assert {item.rule for item in report(run, "steps", "history").findings} == {"steps/directory-mismatch"}


def test_a_log_that_ends_before_the_step_is_fine(tmp_path: Path) -> None:
    assert check(make_run(tmp_path, logging_steps=70), "history/beyond-step") == []
