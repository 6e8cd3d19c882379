"""The rules of the loss where the ledger tells of batches: a new data file is not a lost model."""

from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, report
from tests.audit.batch_rows import finished, leg, tell
from tests.plugins.audit_rules.loss.resumed import level, resumed


def falling(start: float, end: float, count: int = 20) -> list[float]:
    return [start + (end - start) * index / (count - 1) for index in range(count)]


def findings(run: str) -> list[tuple[str, str]]:
    return [(item.rule, item.severity.value) for item in report(run, "loss").findings]


def batches(run: str, *ends: int, epochs: int = 1, per_step: int | None = 4) -> str:
    first = 0
    for number, last in enumerate(ends):
        tell(run, leg(f"b{number}", first, last, epochs, per_step), finished(f"b{number}", first, last))
        first = last
    return run


def test_a_loss_that_jumps_where_a_batch_goes_on_is_an_error(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5))
    tell(run, leg("mon", 0, 400), leg("mon", 200, 400, done=800))

    (finding,) = check(run, "loss/jump")

    assert finding.severity is Severity.ERROR
    assert "boundary of step 200" in finding.message
    assert "batch mon.jsonl goes on" in finding.message


def test_harder_data_in_a_new_batch_are_no_finding(tmp_path: Path) -> None:
    run = batches(resumed(tmp_path, falling(3.0, 1.0) + level(1.5) + level(1.9)), 200, 400, 600)

    assert findings(run) == []


def test_a_jump_within_the_next_batch_is_found_behind_harder_data(tmp_path: Path) -> None:
    run = batches(resumed(tmp_path, falling(3.0, 1.0) + level(1.5) + level(2.5)), 200)
    tell(run, leg("b", 200, 600), leg("b", 400, 600, done=800))

    assert [item.step for item in check(run, "loss/jump")] == [400]


def test_harder_data_in_a_small_new_batch_are_no_finding(tmp_path: Path) -> None:
    run = batches(resumed(tmp_path, falling(3.0, 1.0, 10) + level(1.6, 4), every=2), 100, 140)

    assert findings(run) == []


def test_a_loss_back_at_the_beginning_where_a_batch_begins_is_a_warning(tmp_path: Path) -> None:
    run = batches(resumed(tmp_path, falling(3.0, 1.0) + level(1.0) + falling(3.0, 1.5)), 400, 600)

    assert findings(run) == [("loss/jump", "warning")]


def test_a_second_time_it_is_a_sawtooth(tmp_path: Path) -> None:
    run = batches(resumed(tmp_path, falling(3.0, 1.0) + falling(3.0, 1.0) + falling(2.9, 1.0)), 200, 400, 600)

    assert findings(run) == [("loss/restarted", "error")]


def test_a_file_that_is_learned_by_heart_is_no_measure_of_the_next_one(tmp_path: Path) -> None:
    """Four times through each file: seen examples have half the loss of new ones, which hardly falls."""
    once = [level(2.8, 12), level(2.0, 12), level(1.4, 12), level(1.0, 12)]
    one = [loss for epoch in once for loss in epoch]
    run = resumed(tmp_path, one * 3, every=12)
    tell(run, leg("a", 0, 1440))
    assert findings(run) != []  # the same losses within one batch

    run = batches(resumed(tmp_path / "b", one * 3, every=12), 480, 960, 1440, epochs=4)
    assert findings(run) == []


def test_a_loss_that_falls_at_a_new_batch_is_not_replayed_where_the_examples_are_counted(tmp_path: Path) -> None:
    losses = level(2.0) + level(1.2)

    assert findings(batches(resumed(tmp_path / "counted", losses), 200, 400)) == []
    uncounted = batches(resumed(tmp_path / "uncounted", losses), 200, 400, per_step=None)
    assert findings(uncounted) == [("loss/fell-suspiciously", "warning")]


@pytest.mark.parametrize("boundary", [230, 250])
def test_the_true_boundary_is_judged_not_the_save_before_it(tmp_path: Path, boundary: int) -> None:
    losses = [*level(1.0, boundary // 10), *level(1.6)]
    run = resumed(tmp_path, losses, boundaries=[200])
    tell(run, leg("mon", 0, 900), leg("mon", boundary, 900, done=4 * boundary))

    assert [item.step for item in check(run, "loss/jump")] == [boundary]
