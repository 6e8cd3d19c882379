"""plan/data-skipped: the whole new file is trained, and nothing twice. An epoch of it has 10 steps."""

import pytest

from tests.plugins.audit_rules.plan.conftest import Planned


def test_steps_that_are_no_multiple_of_the_new_file_skip_its_beginning(plan: Planned) -> None:
    (finding,) = plan(None, first=303, arguments={"max_steps": 313})
    assert "would skip the first 3 of 10 steps of new.jsonl, some 30 examples" in finding.message
    assert (finding.expected, finding.actual) == (0, 3)


def test_a_multiple_skips_nothing(plan: Planned) -> None:
    assert not plan(None, first=300, arguments={"max_steps": 310})


@pytest.mark.parametrize("example", [0, 50])
def test_with_ignore_data_skip_the_command_sees_to_it(plan: Planned, example: int) -> None:
    assert not plan(None, first=303, example=example, arguments={"ignore_data_skip": True})
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_a_batch_that_was_begun_goes_on_where_it_stopped(plan: Planned) -> None:
    assert not plan(None, first=304, example=40, steps=6, arguments={"max_steps": 310})  # Trainer skips the 4 steps
    assert not plan(None, first=306, example=40, steps=6, arguments={"max_steps": 312})  # none of the rest of 6 steps
    assert not plan(None, first=303, example=90, steps=1, arguments={"max_steps": 304})  # nor of the one that is left


def test_a_batch_that_was_begun_elsewhere_is_repeated_or_lost(plan: Planned) -> None:
    (finding,) = plan(None, first=302, example=40, steps=6, arguments={"max_steps": 308})
    assert "repeated" in finding.message
    (finding,) = plan(None, first=308, example=40, steps=6, arguments={"max_steps": 314})
    assert "lost" in finding.message


def test_a_batch_in_several_epochs_that_was_begun_is_not_judged(plan: Planned) -> None:
    assert not plan(None, first=302, example=40, epochs=2, arguments={"max_steps": 320})
    assert "several epochs" in plan.reason


def test_where_audit_train_owns_the_order_nothing_is_skipped(plan: Planned) -> None:
    assert not plan(None, first=303, owned=True, arguments={"max_steps": 313})
    assert "controls the order of the data" in plan.reason


def test_a_file_of_unknown_size_is_not_judged(plan: Planned) -> None:
    assert not plan(None, first=303, per_step=None, arguments={"max_steps": 313})
    assert "not known" in plan.reason
