"""[guard] rehearse: what is rehearsed before training resumes, and what happens if it differs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.backend.rehearsal import Arrival, Compared
from audit.errors import AuditError, ConfigError
from audit.rehearsal.report import RehearsalReport
from audit.training import due_rehearsals
from audit.training.rehearsal import Asked, rehearse
from audit.training.run_state import TrainRefused
from tests.audit.training.stage import Rehearsing, Stage, here
from tests.audit.training.toy import Kill, kill_at

Make = Callable[..., Stage]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """``make(mode)``: a shop that rehearses; two files of six steps each wait in it, saved every 3 steps."""

    def in_this_process(config: Any, trainer: Any, registry: Any, asked: Asked) -> RehearsalReport:
        return rehearse(config, trainer, registry, asked, here)

    monkeypatch.setattr(due_rehearsals, "rehearse", in_this_process)

    def made(mode: str, **more: Any) -> Stage:
        found = Stage(tmp_path, more=f'[guard]\nrehearse = "{mode}"', **more)
        found.use(Rehearsing(found.run))
        found.drop("a.jsonl", list(range(12)))
        found.drop("b.jsonl", list(range(20, 32)))
        return found

    return made


def killed(shop: Stage, at: str = "step 8") -> None:
    """Train until the process is killed in this step."""
    shop.backend.tick = kill_at(at)
    with pytest.raises(Kill):
        shop.train()


def notes(shop: Stage) -> list[str]:
    return [event["text"] for event in shop.said("note") if "rehears" in event["text"]]


def arrives(shop: Stage, *, different: int = 0) -> None:
    """Let every rehearsal compare what it reaches."""
    part = Compared("weights", 4, different, "lm_head" if different else None)
    shop.backend.change = lambda found: found._replace(
        arrivals=tuple(Arrival(step, (part,)) for step, _ in shop.backend.asked[-1].arrivals)
    )


def test_after_a_kill_the_newest_checkpoint_is_trained_anew_from_the_one_before(make: Make) -> None:
    shop = make("resume")
    killed(shop)
    arrives(shop)
    assert shop.train() == 0
    [asked] = shop.backend.asked
    assert (asked.leg.first_step, asked.steps, [step for step, _ in asked.arrivals]) == (3, 3, [6])
    [note] = notes(shop)
    assert note.startswith("checkpoint-6: rehearsed: trained anew from ")
    assert [(row.checkpoint, row.same, row.steps) for row in shop.recorded()] == [
        ("checkpoint-3", True, 3),
        ("checkpoint-6", True, 0),
    ]
    assert sorted(shop.trained()) == [*range(12), *range(20, 32)]


def test_after_a_clean_end_nothing_is_rehearsed(make: Make) -> None:
    shop = make("resume")
    assert shop.train() == 0
    shop.drop("c.jsonl", list(range(40, 44)))
    assert shop.train() == 0
    assert shop.backend.asked == []


def test_a_signal_is_a_clean_end(make: Make) -> None:
    shop = make("resume")
    shop.backend.stop_after = 4
    assert shop.train() == 143
    shop.backend.stop_after = None
    assert shop.train() == 0
    assert shop.backend.asked == []


def test_once_a_day_it_is_rehearsed_without_a_reason(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make("daily")
    arrives(shop)
    assert shop.train() == 0  # before the second file
    assert len(shop.backend.asked) == 1
    shop.drop("c.jsonl", list(range(40, 44)))
    assert shop.train() == 0
    assert len(shop.backend.asked) == 1
    monkeypatch.setattr(due_rehearsals, "DAY", -60.0)
    shop.drop("d.jsonl", list(range(50, 54)))
    assert shop.train() == 0
    assert len(shop.backend.asked) > 1


def test_where_the_newest_checkpoint_is_not_what_the_steps_lead_to_nothing_is_trained(make: Make) -> None:
    shop = make("resume")
    killed(shop)
    arrives(shop, different=2)
    with pytest.raises(
        TrainRefused, match=r"nothing is trained on checkpoint-6, as a rehearsal of .*checkpoint-3 differs"
    ):
        shop.train()
    assert [(row.checkpoint, row.same) for row in shop.recorded()] == [("checkpoint-3", True), ("checkpoint-6", False)]
    assert shop.names("inbox") == ["b.jsonl"]
    assert {path.name for path in shop.run.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-6"}


def test_where_a_step_differs_nothing_is_trained(make: Make) -> None:
    shop = make("resume")
    killed(shop)
    shop.backend.change = lambda found: found._replace(steps=tuple(item._replace(loss=9.0) for item in found.steps))
    with pytest.raises(TrainRefused, match=r"step 4: loss: 9.0"):
        shop.train()


def test_the_first_checkpoint_of_all_is_only_restored(make: Make) -> None:
    shop = make("resume")
    killed(shop, "step 5")
    assert shop.train() == 0
    assert [asked.steps for asked in shop.backend.asked] == [0]
    assert notes(shop)[0].startswith("checkpoint-3: rehearsed: ")
    assert "no step judged" in notes(shop)[0]


def test_what_cannot_be_rehearsed_is_said_and_training_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make("resume")
    killed(shop)

    def fails(*unused: Any) -> Any:
        raise AuditError("it took longer than 1800 s, and was ended")

    monkeypatch.setattr(due_rehearsals, "rehearse", fails)
    assert shop.train() == 0
    assert notes(shop) == ["checkpoint-6: not rehearsed: it took longer than 1800 s, and was ended"]


def test_room_is_made_before_a_second_model_is_loaded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, made = make("resume"), []
    killed(shop)
    kept = due_rehearsals.DueRehearsals.before

    def before(self: due_rehearsals.DueRehearsals, *given: Any) -> None:
        self.make_room = lambda: made.append(len(shop.backend.asked))
        kept(self, *given)

    monkeypatch.setattr(due_rehearsals.DueRehearsals, "before", before)
    assert shop.train() == 0
    assert made == [0]


def test_another_word_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"guard.rehearse: 'weekly' is not one of resume, daily"):
        make("weekly").train()
