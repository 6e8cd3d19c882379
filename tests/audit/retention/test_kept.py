"""Which checkpoints stay, of any that there could be."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import RefusedError
from audit.facts.completeness import CheckpointState, Completeness
from audit.facts.run import Run
from audit.ledger.records import Records
from audit.retention.kept import choose

STEPS = (100, 200, 300, 400, 500)


class Fake:
    """A checkpoint of which only name, step and what can be read of it matters."""

    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)

    def optional(self, name: str) -> Any:
        return self.__dict__.get(name)


def fake_run(states: dict[int, str], best: int | None, arguments: dict[str, Any] | None = None) -> Run:
    run = SimpleNamespace(path="run", lineages=(), unlistable=frozenset(), records=Records())
    run.checkpoints = [
        Fake(
            name=f"checkpoint-{step}",
            step=step,
            completeness=Completeness(CheckpointState("incomplete" if state == "incomplete" else "complete")),
            state=None if state != "proven" else SimpleNamespace(best_global_step=best),
            best_recorded=f"checkpoint-{best}" if best and state == "proven" else None,
            arguments=arguments,
        )
        for step, state in sorted(states.items())
    ]
    return cast("Run", run)


@given(
    states=st.dictionaries(st.integers(1, 40), st.sampled_from(["proven", "broken", "incomplete"]), max_size=12),
    best=st.none() | st.integers(1, 40),
    keep=st.integers(1, 14),
)
def test_of_any_checkpoints_the_newest_proven_and_the_best_stay(
    states: dict[int, str], best: int | None, keep: int
) -> None:
    run = fake_run(states, best)
    proven = [item for item in run.checkpoints if states[item.step] == "proven"]

    choice = choose(run, proven, keep)

    left = {int(item.checkpoint[11:]) for item in choice.kept}
    gone = {item.step for item in choice.removed}
    by_step = sorted(item.step for item in proven)
    assert left | gone == states.keys()
    assert not left & gone
    assert set(by_step[-keep:]) <= left
    assert best not in gone or not proven
    assert not gone or len(by_step) >= keep
    assert all(step < by_step[-keep] for step in gone)
    assert {step for step in states if by_step and len(by_step) >= keep and step < by_step[-keep]} - {best} == gone


@pytest.mark.parametrize(
    ("metric", "greater", "best"), [("accuracy", None, 200), ("eval_loss", None, 300), (None, True, 100)]
)
def test_what_is_better_is_as_the_trainer_has_it(metric: str | None, greater: bool | None, best: int) -> None:
    log = {100: (9.0, 0.1), 200: (5.0, 0.9), 300: (1.0, 0.2), 400: (float("nan"), float("nan"))}
    entries = [{"step": step, "eval_loss": loss, "eval_accuracy": acc} for step, (loss, acc) in log.items()]
    run = fake_run(
        dict.fromkeys(STEPS, "proven"), None, {"metric_for_best_model": metric, "greater_is_better": greater}
    )
    for item in run.checkpoints:
        cast("Any", item).history = entries

    choice = choose(run, run.checkpoints, 1, keep_best=True)

    assert [item.checkpoint for item in choice.kept] == [f"checkpoint-{best}", "checkpoint-500"]


@pytest.mark.parametrize(
    ("state", "doing"), [("in progress", "is being written"), ("being deleted", "is being deleted")]
)
def test_a_trainer_that_is_at_work_refuses_it(state: str, doing: str) -> None:
    run = fake_run(dict.fromkeys(STEPS, "proven"), None)
    cast("Any", run.checkpoints[0]).completeness = Completeness(CheckpointState(state))

    with pytest.raises(RefusedError, match=f"checkpoint-100 {doing} .*right now; nothing is removed"):
        choose(run, run.checkpoints[1:], 1)


def test_a_checkpoint_that_cannot_be_listed_stays() -> None:
    run = fake_run(dict.fromkeys(STEPS, "proven"), None)
    cast("Any", run).unlistable = frozenset({"checkpoint-100"})

    choice = choose(run, run.checkpoints[1:], 1)

    assert [(item.checkpoint, item.reason) for item in choice.kept] == [
        ("checkpoint-100", "cannot be listed"),
        ("checkpoint-500", "proven"),
    ]


def test_the_best_is_asked_for_and_no_log_tells_it() -> None:
    run = fake_run(dict.fromkeys(STEPS, "proven"), None)

    with pytest.raises(RefusedError, match=r"checkpoint-500 has no log; nothing is removed\. Leave --keep-best out"):
        choose(run, run.checkpoints, 2, keep_best=True)
    assert choose(run, run.checkpoints, 5, keep_best=True).removed == ()
    assert len(choose(fake_run(dict.fromkeys(STEPS, "proven"), 200), run.checkpoints, 2, keep_best=True).notes) == 0


def test_the_best_is_asked_for_and_the_log_has_no_such_metric() -> None:
    run = fake_run(dict.fromkeys(STEPS, "proven"), None, {"metric_for_best_model": "accuracy"})
    for item in run.checkpoints:
        cast("Any", item).history = [{"step": 500, "eval_loss": 1.0}]

    choice = choose(run, run.checkpoints, 2, keep_best=True)

    assert len(choice.removed) == 3
    assert choice.notes == ("no best checkpoint is known: eval_accuracy was logged at none that is there",)
