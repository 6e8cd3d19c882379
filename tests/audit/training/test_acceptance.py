"""The same findings lead to the same decision in every call, until a person accepts them."""

import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import AuditError
from audit.facts.run import Run
from audit.findings import Severity, Violation
from audit.hookspecs import hookimpl
from audit.ledger.events import Accepted
from audit.ledger.store import open_ledger
from audit.manager import load
from audit.retention.snapshots import snapshot
from audit.rules import rule
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import Kill, kill_at

RULE = "loss/of-a-test"
NOT_PROVEN = rf"not proven: a tooth at 2 \({RULE}\)"


@pytest.fixture(params=["of the run", "of a checkpoint in the middle", "of the last checkpoint"])
def teeth(request: pytest.FixtureRequest, shop: Shop) -> list[int]:
    """Steps at which a rule finds an error in the log, once it goes on beyond them."""
    steps: list[int] = []

    @rule(Severity.ERROR, remedy="Look.", id=RULE)
    def found(run: Run) -> Iterator[Violation]:
        """Find what a test asks for."""
        for step in steps:
            beyond = [item.name for item in run.checkpoints if item.step > step]
            if beyond:
                places = {"of the run": None, "of the last checkpoint": beyond[-1]}
                yield Violation(f"a tooth at {step}", step=step, checkpoint=places.get(request.param, beyond[0]))

    @hookimpl
    def audit_rules() -> list[Any]:
        return [found]

    @hookimpl
    def audit_training_backends() -> list[Any]:
        return [shop.backend]

    shop.registry = load([SimpleNamespace(audit_rules=audit_rules, audit_training_backends=audit_training_backends)])
    return steps


def two_batches(shop: Shop) -> None:
    """The first ends at step 2, the second at step 6, with a save at step 3."""
    shop.drop("a.jsonl", [1, 2, 3, 4])
    assert shop.train() == 0
    shop.drop("b.jsonl", list(range(10, 18)))


def accepted(shop: Shop) -> list[Accepted]:
    ledger = open_ledger(str(shop.run), write=False)
    assert ledger is not None
    try:
        return [row.event for row in ledger.rows() if isinstance(row.event, Accepted)]
    finally:
        ledger.close()


def test_what_is_not_proven_is_not_proven_in_the_next_call_either(shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    teeth.append(2)
    for _ in range(3):
        with pytest.raises(TrainRefused, match=NOT_PROVEN) as refused:
            shop.train()
    assert f"accept it with --accept {RULE} --reason TEXT" in str(refused.value)
    assert shop.names("inbox") == ["b.jsonl"]

    teeth.clear()  # the finding is gone, not merely old
    assert shop.train() == 0


@pytest.mark.parametrize("moment", ["step 4", "saved 6"])
def test_a_kill_does_not_make_a_finding_an_old_one(moment: str, shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    teeth.append(2)
    shop.backend.tick = kill_at(moment)
    with pytest.raises(Kill):
        shop.train()
    for _ in range(2):
        with pytest.raises(TrainRefused, match=NOT_PROVEN):
            shop.train()


def test_a_stop_does_not_either_and_says_so(shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    teeth.append(2)
    shop.backend.stop_after = 4
    assert shop.train() == 143
    assert "a tooth at 2" in str(shop.said("stopped")[0]["reason"])
    shop.backend.stop_after = None
    with pytest.raises(TrainRefused, match=NOT_PROVEN):
        shop.train()


def test_what_a_person_accepts_is_recorded_and_the_batch_is_proven(shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    teeth.append(2)
    with pytest.raises(TrainRefused):
        shop.train()

    assert shop.train(accept=(RULE,), reason="another language") == 0

    (row,) = accepted(shop)
    assert (row.rule, row.step, row.reason, row.until) == (RULE, 2, "another language", None)
    assert row.checkpoint in ("checkpoint-3", "checkpoint-6")
    assert f"b.jsonl: accepted: a tooth at 2 ({RULE}): another language" in [
        event["text"] for event in shop.said("note")
    ]
    assert shop.names("done") == ["a.jsonl", "b.jsonl"]
    shop.drop("c.jsonl", [20, 21])
    assert shop.train() == 0  # the tooth is still there, and still accepted
    teeth.append(7)
    shop.drop("d.jsonl", [30, 31, 32, 33])
    with pytest.raises(TrainRefused, match="a tooth at 7"):  # another one is not
        shop.train()
    assert shop.train(accept=(RULE,), reason="again") == 0
    assert [row.step for row in accepted(shop)] == [2, 7]


@pytest.mark.parametrize("teeth", ["of the run", "of a checkpoint in the middle"], indirect=True)
def test_what_was_there_before_the_batch_is_not_held_against_it(shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    assert shop.train() == 0
    teeth.append(2)  # as if the rule were new
    shop.drop("c.jsonl", [20, 21, 22, 23])
    shop.backend.stop_after = 7
    assert shop.train() == 143
    shop.backend.stop_after = None
    assert shop.train() == 0


def test_a_rule_that_does_not_exist_cannot_be_accepted(shop: Shop) -> None:
    with pytest.raises(AuditError, match="no rule is named 'loss/sawtoth'"):
        shop.train(accept=("loss/sawtoth",), reason="x")


def test_going_back_before_the_finding_trains_the_batch_again(shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    teeth.append(2)
    with pytest.raises(TrainRefused, match=NOT_PROVEN):
        shop.train()
    for step in (3, 6):
        shutil.rmtree(shop.run / f"checkpoint-{step}")
    with pytest.raises(TrainRefused, match=NOT_PROVEN):  # it comes again: it is not an old one
        shop.train(allow_fresh=True)
    teeth.clear()
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4, *range(10, 18)]


def test_a_snapshot_of_an_accepted_checkpoint_knows_what_was_accepted(shop: Shop, teeth: list[int]) -> None:
    two_batches(shop)
    teeth.append(2)
    assert shop.train(accept=(RULE,), reason="another language") == 0
    made = snapshot(str(shop.run), str(shop.home / "snapshots"), registry=shop.registry, today="2026-11-21")
    assert made.checkpoint == "checkpoint-6"
    first = accepted(shop)
    shutil.rmtree(shop.run)
    shutil.copytree(shop.home / "snapshots" / "2026-11-21", shop.run)
    assert accepted(shop) == first
    shop.drop("c.jsonl", [20, 21])
    assert shop.train() == 0
