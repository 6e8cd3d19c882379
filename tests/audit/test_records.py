from typing import Any

from audit.ledger import Row
from audit.records import quarantined_by, reached_by, told_by


def rows(*contents: tuple[str, dict[str, Any]]) -> tuple[Row, ...]:
    return tuple(Row(number, "now", kind, content) for number, (kind, content) in enumerate(contents, 1))


def seen(*steps: int) -> tuple[str, dict[str, Any]]:
    return "observation", {"step": max(steps), "checkpoints": [f"checkpoint-{step}" for step in steps]}


def leg(first: int) -> tuple[str, dict[str, Any]]:
    return "batch", {"event": "leg", "batch": "a", "first_step": first}


def event(name: str, **content: Any) -> tuple[str, dict[str, Any]]:
    return "batch", {"event": name, "batch": "a", **content}


def test_a_batch_that_was_finished_has_reached_its_last_step() -> None:
    assert reached_by(rows(leg(0), event("finished", last_step=40))) == 40


def test_a_leg_is_a_known_beginning() -> None:
    assert reached_by(rows(seen(100, 200), leg(100))) == 100
    assert reached_by(rows(seen(100, 200), leg(100), seen(100, 200, 300))) == 300


def test_a_checkpoint_beyond_the_way_back_is_given_up_and_not_reached_by_being_seen() -> None:
    """The guard passed over the broken one of step 200; it lies there until rotation deletes it."""
    back = (seen(100, 200), ("guard", {"step": 100}), leg(100))

    assert reached_by(rows(*back, seen(100, 120, 200))) == 100
    assert reached_by(rows(*back, seen(100, 120, 200), seen(120, 140))) == 140
    assert reached_by(rows(*back, seen(120, 140), seen(140, 160, 180, 200))) == 200  # trained again


def test_a_save_that_goes_on_while_the_guard_looks_is_not_given_up() -> None:
    looked = ("observation", {"step": 100, "checkpoints": ["checkpoint-100", "checkpoint-200"]})

    assert reached_by(rows(looked, ("start", {"step": 100}), seen(100, 200))) == 200


def test_what_a_leg_that_ended_early_told_holds_until_something_is_begun() -> None:
    failed = (leg(0), event("failed", step=17))

    assert told_by(rows(*failed)) == 17
    assert told_by(rows(*failed, seen(10))) == 17
    assert told_by(rows(leg(0), event("stopped", step=5, signal=15))) == 5
    for after in (leg(10), ("guard", {"step": 10}), ("start", {"step": 10}), event("finished", last_step=40)):
        assert told_by(rows(*failed, after)) == 0


def test_a_checkpoint_is_in_quarantine_until_it_is_restored() -> None:
    moved = ("quarantine", {"action": "moved", "checkpoint": "checkpoint-200", "step": 100})
    back = ("quarantine", {"action": "restored", "checkpoint": "checkpoint-200", "step": 200})

    assert quarantined_by(rows(moved)) == {200}
    assert quarantined_by(rows(moved, back)) == frozenset()


def test_rows_of_any_shape_do_no_harm() -> None:
    odd: list[Any] = [None, True, -1, 1.5, "9", [1], {"a": 1}, 10**400]
    kinds = ("observation", "guard", "quarantine", "start", "batch")
    all_rows = rows(
        *(
            (kind, {"step": value, "checkpoints": value, "checkpoint": value, "first_step": value, "event": name})
            for kind in kinds
            for value in odd
            for name in ("leg", "finished", "failed")
        )
    )

    assert told_by(all_rows) >= 0
    assert reached_by(all_rows) >= 0
    assert quarantined_by(all_rows) == frozenset()
