from typing import Any

import pytest

from audit_rules.plan._resume import steps_of_resume


@pytest.mark.parametrize(
    ("epoch_steps", "done", "options", "steps"),
    [
        (10, 0, {"epochs": 3}, 30),
        (10, 0, {"epochs": 2.5}, 25),
        (10, 10, {"epochs": 1}, 0),  # the second file of the same size
        (10, 10, {"epochs": 2}, 10),
        (15, 10, {"epochs": 1}, 5),  # a larger one: its first ten steps are skipped
        (6, 10, {"epochs": 2}, 2),
        (10, 10, {"epochs": 1.5}, 5),
        (10, 15, {"epochs": 1.5}, 1),
        (10, 20, {"epochs": 1.5}, 0),
        (10, 0, {}, 0),
        (10, 0, {"max_steps": 1}, 1),
        (10, 20, {"max_steps": 25}, 5),
        (10, 20, {"max_steps": 20}, 0),
        (10, 25, {"max_steps": 25}, 1),  # one more, within an epoch
        (10, 25, {"max_steps": 22}, 1),
        (10, 25, {"max_steps": 15}, 0),
    ],
)
def test_the_steps_of_a_resume(epoch_steps: int, done: int, options: dict[str, Any], steps: int) -> None:
    assert steps_of_resume(epoch_steps, done, **options) == steps
