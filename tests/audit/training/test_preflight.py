"""What the rules of the scope `plan` find refuses a leg before it begins, or is noted."""

from collections.abc import Callable

import pytest

from audit.backend.training import Size
from audit.facts.space import Free
from audit.findings import Severity
from audit.training.batch_log import BatchLog
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


def test_the_base_model_is_recorded_with_each_leg_and_must_stay(shop: Shop) -> None:
    known = {"kind": "pretrained", "dtype": "auto", "config": "c"}
    shop.backend.base_model = lambda settings: "base/tiny"  # type: ignore[attr-defined]
    shop.backend.base_identity = lambda settings, seed: dict(known)  # type: ignore[attr-defined]
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    assert BatchLog(str(shop.run)).timeline().base_at(1) == known

    known["weights"] = "w"  # it was downloaded by now
    shop.drop("b.jsonl", [3, 4])
    assert plan(shop).findings == ()
    shop.train()
    assert BatchLog(str(shop.run)).timeline().base_at(2) == known

    known["config"] = "d"
    shop.drop("c.jsonl", [5, 6])
    assert [item.rule for item in plan(shop).findings] == ["plan/base-changed"]
    with pytest.raises(TrainRefused, match="another config"):
        shop.train()
    assert shop.names("inbox") == ["c.jsonl"]


def test_a_model_that_the_first_leg_downloads_is_recorded_when_it_is_finished(shop: Shop) -> None:
    known = {"kind": "pretrained"}
    shop.backend.base_identity = lambda settings, seed: dict(known)  # type: ignore[attr-defined]
    shop.backend.tick = lambda what: known.update(weights="w")
    shop.drop("a.jsonl", [1, 2])
    shop.train()

    assert BatchLog(str(shop.run)).timeline().base_at(1) == known


def test_with_room_for_the_largest_checkpoints_no_model_is_built(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def estimated(settings: object) -> Size:
        asked.append("built")
        return Size(10_000, 10)

    shop.backend.checkpoint_size = estimated  # type: ignore[attr-defined]
    shop.backend.largest_checkpoint = lambda settings: Size(1 << 20, 20)  # type: ignore[attr-defined]
    shop.backend.arguments = lambda request: {"save_strategy": "steps", "save_steps": 1}  # type: ignore[attr-defined]
    shop.drop("a.jsonl", [1, 2])
    monkeypatch.setattr("audit.training.preflight.free_at", lambda path: Free(1 << 30, None))
    plan(shop)
    assert asked == ["built"]  # a plan shows what is needed
    assert shop.train() == 0
    assert asked == ["built"]


def test_with_less_room_the_model_is_built_and_a_full_disk_is_seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.backend.checkpoint_size = lambda settings: Size(10_000, 10)  # type: ignore[attr-defined]
    shop.backend.largest_checkpoint = lambda settings: Size(1 << 20, 20)  # type: ignore[attr-defined]
    shop.backend.arguments = lambda request: {"save_strategy": "steps", "save_steps": 1}  # type: ignore[attr-defined]
    shop.drop("a.jsonl", [1, 2])
    monkeypatch.setattr("audit.training.preflight.free_at", lambda path: Free(9_000, None))

    with pytest.raises(TrainRefused, match=r"plan/disk"):
        shop.train()
