"""Why weights may be unchanged: nothing could have been learned."""

from types import SimpleNamespace
from typing import Any

import pytest

from audit.plugin import Checkpoint, NotApplicable
from audit_rules.weights._shared import idle, never_learned, scanned, shown

SKIPPED = "gradient scaler"


def checkpoint(
    step: int, rates: list[float] | None = None, log: dict[int, float] | None = None, **facts: Any
) -> Checkpoint:
    """A checkpoint with these learning rates in its scheduler and its log."""
    entries = [{"step": at, "learning_rate": rate} for at, rate in (log or {}).items()]
    if log is not None:
        facts["history"] = History(entries)
    if rates is not None:
        facts["scheduler"] = SimpleNamespace(last_lr=rates)
    facts = {"arguments": {}, **facts}
    backend = SimpleNamespace(arguments_file="training_args.bin")
    return SimpleNamespace(step=step, backend=backend, optional=facts.get)  # type: ignore[return-value]


class History(list[dict[str, Any]]):
    """A log without an earlier one."""

    base = None

    @property
    def own(self) -> list[dict[str, Any]]:
        return self


@pytest.mark.parametrize(
    ("older", "newer", "reason"),
    [
        (checkpoint(10, [1e-3]), checkpoint(20, [0.0]), None),
        (checkpoint(10, [0.0]), checkpoint(11, [1e-3], {11: 1e-3}), "the one step since"),  # of the scheduler before
        (checkpoint(10), checkpoint(11, log={11: 1e-3}), None),
        (checkpoint(10, [0.0]), checkpoint(20, [1e-3]), None),
        (checkpoint(10, [0.0]), checkpoint(20, [0.0], {15: 1e-3}), None),
        (checkpoint(10, [0.0]), checkpoint(20, [0.0], {5: 1e-3, 10: 1e-3, 15: 0.0}), "was 0"),
        (checkpoint(10, [0.0]), checkpoint(20, [0.0], {15: 0.0, 25: 1e-3}), "was 0"),
        (checkpoint(10), checkpoint(20, log={5: 1e-3}), "is not known"),
        (checkpoint(10), checkpoint(20, log={15: 0.0}), "was 0"),
        (checkpoint(10), checkpoint(20, [0.0]), "was 0"),
    ],
)
def test_weights_must_have_changed_if_a_learning_rate_since_was_not_0(
    older: Checkpoint, newer: Checkpoint, reason: str | None
) -> None:
    found = idle(older, newer)

    assert found is None if reason is None else reason in (found or "")


@pytest.mark.parametrize(("step", "updates", "skipped"), [(42, 5, True), (43, 5, False), (42, 6, False)])
def test_a_gradient_scaler_may_have_skipped_some_updates_in_a_row(step: int, updates: int, skipped: bool) -> None:
    older = checkpoint(10, [1e-3], updates=5)
    newer = checkpoint(step, [1e-3], updates=updates, arguments={"fp16": True})

    assert (idle(older, newer) is not None) is skipped


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (checkpoint(1, [1e-3]), "first step"),
        (checkpoint(2, [1e-3]), None),
        (checkpoint(32, [1e-3], arguments={"fp16": True}), SKIPPED),
        (checkpoint(33, [1e-3], arguments={"fp16": True}), None),
        (checkpoint(32, [1e-3], arguments={"fp16": True}, updates=1), None),
        (checkpoint(32, [1e-3]), None),
        (checkpoint(50, [0.0]), "was 0 so far"),
        (checkpoint(50, [0.0], {10: 1e-3, 20: 0.0}), None),
        (checkpoint(50, log={10: 0.0}), "was 0 so far"),
        (checkpoint(50), None),  # it is not known
    ],
)
def test_weights_may_be_the_initial_ones_if_nothing_was_learned_so_far(found: Checkpoint, reason: str | None) -> None:
    said = never_learned(found)

    assert said is None if reason is None else reason in (said or "")


def test_of_many_names_some_are_shown() -> None:
    assert shown(["a", "b", "c"]) == "a, b, c"
    assert shown(["a", "b", "c", "d"]) == "a, b, c and 1 more"


def test_without_a_file_that_was_read_nothing_is_told_of_weights() -> None:
    judged: Any = SimpleNamespace(optional=lambda _: None, weights=[SimpleNamespace(file="model.safetensors")])

    with pytest.raises(NotApplicable, match="could not be read completely"):
        list(scanned(judged, {}))
