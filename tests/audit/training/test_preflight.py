"""What the rules of the scope `plan` find refuses a leg before it begins, or is noted."""

from collections.abc import Callable

import pytest

from audit.facts.space import Free
from audit.findings import Severity
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, plan

Make = Callable[..., Shop]


def test_a_leg_that_does_not_fit_its_checkpoint_is_refused_and_its_data_stays(changed: Shop) -> None:
    before = changed.names("inbox")

    with pytest.raises(TrainRefused, match=r"b\.jsonl: The planned adapter .* r is 64, was 4 \(plan/adapter-changed\)"):
        changed.train()

    assert changed.names("inbox") == before
    assert changed.said("batch") == []
    assert [item.rule for item in plan(changed).findings] == ["plan/adapter-changed"]
    del changed.backend.adapter  # type: ignore[attr-defined]
    assert changed.train() == 0


def test_a_rule_that_is_ignored_refuses_nothing(make_shop: Make) -> None:
    shop = make_shop(more='[verify]\nignore = ["plan"]')
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.backend.adapter = lambda settings: {"r": 64}  # type: ignore[attr-defined]
    shop.drop("b.jsonl", [3, 4])

    assert plan(shop).judgements[0].outcomes == ()
    assert shop.train() == 0


def test_a_full_disk_is_seen_before_a_leg(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.drop("b.jsonl", list(range(10, 30)))
    monkeypatch.setattr("audit.training.preflight.free_at", lambda path: Free(1000, None))

    (finding,) = plan(shop).findings
    assert finding.rule == "plan/disk"
    with pytest.raises(TrainRefused, match=r"plan/disk"):
        shop.train()
    assert shop.names("inbox") == ["b.jsonl"]


def test_a_warning_is_told_and_training_goes_on(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    given = {"lr_scheduler_type": "constant", "learning_rate": 0.5}
    shop.backend.arguments = lambda request: given  # type: ignore[attr-defined]
    shop.drop("b.jsonl", [3, 4])

    assert [item.rule for item in plan(shop).findings if item.severity is Severity.WARNING] == ["plan/setting-ignored"]
    assert shop.train() == 0
    assert any("plan/setting-ignored" in event["text"] for event in shop.said("note"))
