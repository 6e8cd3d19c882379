"""Whether training continued over a boundary, by the weights and the counts of the optimizer around it."""

from types import SimpleNamespace
from typing import Any

import pytest

from audit_rules._passage import NEAR, Passage, passage

BOUNDARY: Any = SimpleNamespace(step=20)


def checkpoint(step: int, updates: float | None, way: float | None = None, **arguments: Any) -> Any:
    """``way``: how far the weights have gone back to the beginning of the run, None if that is not known."""
    facts = {"updates": updates, "arguments": arguments}
    run = SimpleNamespace(way_back=lambda *_: way)
    return SimpleNamespace(name=f"checkpoint-{step}", step=step, run=run, optional=facts.get)


@pytest.mark.parametrize(
    ("before", "after", "on"),
    [
        (checkpoint(20, 20), checkpoint(30, 30, NEAR / 2), True),
        (checkpoint(20, 20), checkpoint(30, 30, NEAR), False),  # the weights are new
        (checkpoint(20, 20), checkpoint(30, 10, NEAR / 2), False),  # the optimizer is new
        (checkpoint(20, 20), checkpoint(30, 20, NEAR / 2), False),
        (checkpoint(20, 0), checkpoint(30, 10, NEAR / 2), False),
    ],
)
def test_weights_that_are_near_those_before_and_a_count_that_went_on_say_so(before: Any, after: Any, on: bool) -> None:
    found = passage([before, after], BOUNDARY)

    assert (found.on, found.weights) == (on, True)
    assert ("from checkpoint-20 to checkpoint-30" in found.evidence) is on


@pytest.mark.parametrize(
    ("before", "after", "on"),
    [
        (checkpoint(20, 20), checkpoint(30, 30), None),  # the weights may be new
        (checkpoint(20, 20), checkpoint(30, 30, ignore_data_skip=True), True),
        (checkpoint(20, 20), checkpoint(30, 10, ignore_data_skip=True), False),
        (checkpoint(20, 20), checkpoint(30, None), False),
        (checkpoint(20, None), checkpoint(30, 30), False),
        (None, checkpoint(30, 30), None),
        (None, checkpoint(30, 10), False),
        (None, checkpoint(30, 30, ignore_data_skip=True), True),
    ],
)
def test_without_the_weights_from_before_the_count_and_ignore_data_skip_decide(
    before: Any, after: Any, on: bool | None
) -> None:
    found = passage([after] if before is None else [before, after], BOUNDARY)

    assert (found.on, found.weights) == (on, False)
    assert ("ignore_data_skip is set" in found.evidence) is (on is True)


def test_with_no_checkpoint_after_a_boundary_nothing_is_known() -> None:
    assert passage([checkpoint(10, 10), checkpoint(20, 20)], BOUNDARY) == Passage(None)
