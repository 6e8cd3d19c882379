"""What training resumes from, what is moved out of its way, and when a step counts as proven."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.backend.training import Note
from audit.errors import AuditError
from audit.findings import Finding, Severity
from audit.judging.auditor import Auditor
from audit.judging.decision import Limits
from audit.judging.guard import Guarded, consult
from audit.judging.verification import verify_run
from audit.ledger.batch_events import Known, LegBegun
from audit.ledger.store import Row
from audit.ledger.timeline import Timeline
from audit.ledger.timeline_rows import timeline_of
from audit.manager import load
from audit.options import Options
from audit.report import Report
from audit.testing.runs import edit_json, make_run
from audit.training.batch_log import BatchLog
from audit.training.events import CheckpointQuarantined, CheckpointRotated, CheckpointSkipped, CheckpointTorn, Event
from audit.training.run_state import RunState, TrainRefused, Verified
from tests.audit.training.conftest import Shop

Make = Callable[..., Shop]


def test_a_broken_checkpoint_is_moved_away_and_its_steps_are_trained_again(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    shop.drop("b.jsonl", list(range(10, 16)))
    shop.train()
    (shop.run / "checkpoint-7" / "optimizer.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    shop.drop("c.jsonl", [20, 21])

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), *range(10, 16), 20, 21]
    assert (shop.run / ".audit" / "quarantine" / "checkpoint-7").is_dir()
    assert shop.names("done") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert verify(str(shop.run)).verdict == "sound"


def test_a_pin_takes_the_place_of_the_checkpoint_that_broke(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.run / "checkpoint-1" / "optimizer.pt").unlink()

    assert shop.train() == 0

    assert [event["checkpoint"] for event in shop.said("put-back")] == ["checkpoint-1"]
    assert sorted(shop.trained()) == [1, 2]
    assert shop.said("batch") == []
    assert verify(str(shop.run)).verdict == "sound"


def test_a_checkpoint_without_random_numbers_is_passed_over_where_an_older_one_has_them(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    (shop.run / "checkpoint-4" / "rng_state.pth").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    assert shop.train() == 0
    assert [event["first_step"] for event in shop.said("batch")] == [3]
    assert sorted(shop.trained()) == list(range(8))


def test_where_none_has_them_it_is_taken_all_the_same_and_said(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")

    def forget(what: str) -> None:
        if what == "saved 1":
            (shop.run / "checkpoint-1" / "rng_state.pth").unlink()

    shop.backend.tick = forget
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])
    assert shop.train() == 0
    assert "checkpoint-1: resumes, but not bit for bit: rng_state.pth" in shop.said("note")[0]["text"]
    assert sorted(shop.trained()) == [1, 2, 3, 4]


def test_where_everything_is_broken_training_does_not_start_over(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    (shop.run / "checkpoint-1" / "optimizer.pt").unlink()
    shop.drop("b.jsonl", [3])
    with pytest.raises(TrainRefused, match="no checkpoint can be resumed from"):
        shop.train()
    assert shop.names("inbox") == ["b.jsonl"]

    assert shop.train(allow_fresh=True) == 0
    assert sorted(shop.trained()) == [1, 2, 3]


@pytest.mark.parametrize("how", ["link", "file"])
def test_a_checkpoint_to_come_is_not_saved_through_a_link(how: str, shop: Shop) -> None:
    outside = shop.home / "outside"
    outside.mkdir()
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    if how == "link":
        (shop.run / "checkpoint-6").symlink_to(outside)
    else:
        (shop.run / "checkpoint-6").write_text("")
    shop.drop("b.jsonl", list(range(10, 18)))

    with pytest.raises(TrainRefused, match=r"checkpoint-6: is (a link|not a directory).*move it away"):
        shop.train()
    assert list(outside.iterdir()) == []
    assert shop.names("inbox") == ["b.jsonl"]

    (shop.run / "checkpoint-6").unlink()
    assert shop.train() == 0


@pytest.mark.parametrize("name", ["checkpoint-2", "checkpoint-12345678901234567890", "checkpoint-best", "notes"])
def test_a_link_where_nothing_will_be_saved_is_in_nobodys_way(name: str, begun: Shop) -> None:
    if not (begun.run / name).exists():
        (begun.run / name).symlink_to(begun.home)
    assert begun.train() == 0


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that rules were applied to."""
    found: list[str] = []
    report = Auditor.report

    def counted(self: Auditor, run: Any, *known: Any) -> Any:
        found.append(run.path)
        return report(self, run, *known)

    monkeypatch.setattr(Auditor, "report", counted)
    return found


def test_a_run_is_judged_once_for_each_batch_and_not_at_all_where_nothing_waits(shop: Shop, judged: list[str]) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    judged.clear()

    shop.train()
    assert judged == []
    shop.drop("b.jsonl", [10, 11])
    shop.drop("c.jsonl", [12, 13])
    shop.train()
    assert judged == [str(shop.run)] * 2


# -- Of a run that is there already -----------------------------------------------------------------------------------


class Judged(RunState):
    """The state of a run of three checkpoints; ``told`` are the events."""

    def __init__(self, run: str, **limits: Any) -> None:
        self.told: list[Event] = []
        options = Options(settle_seconds=0)
        super().__init__(run, options, Limits(**limits), load(), BatchLog(run), self.told.append)

    def there(self) -> list[str]:
        return sorted(name for name in os.listdir(self.run) if name.startswith("checkpoint-"))


@pytest.fixture
def made(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def legs_from(*steps: int) -> Timeline:
    """A timeline with a leg of a batch of its own from each step on."""
    log = [
        LegBegun(f"{step}", "a.jsonl", 9, step, step + 50, 0, 8, 2, 1, None, 0, None, None, 1, None) for step in steps
    ]
    return timeline_of(Row(1, "2026-11-21T12:00:00Z", *event.row()) for event in log)


def test_the_checkpoint_that_resumes_bit_for_bit_is_taken_before_a_newer_one_that_does_not(made: str) -> None:
    os.unlink(f"{made}/checkpoint-300/rng_state.pth")

    assert Judged(made).guard(Timeline()) == (200, "checkpoint-200")


def test_a_torn_checkpoint_of_our_own_leg_is_removed_and_the_one_before_it_taken(made: str) -> None:
    os.unlink(f"{made}/checkpoint-300/trainer_state.json")
    state = Judged(made)

    assert state.guard(legs_from(100, 200)) == (200, "checkpoint-200")
    assert state.told == [CheckpointTorn("checkpoint-300")]
    assert isinstance(state.told[0], CheckpointTorn)
    assert state.there() == ["checkpoint-100", "checkpoint-200"]
    left = [name for _, _, files in os.walk(f"{made}/.audit") for name in files]
    assert "optimizer.pt" not in left  # it takes no room either


def test_where_the_only_checkpoint_is_torn_the_training_starts_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,), max_steps=10)
    os.unlink(f"{run}/checkpoint-1/trainer_state.json")

    assert Judged(run).guard(legs_from(0)) == (0, None)


def test_a_broken_checkpoint_is_moved_into_quarantine_and_told(made: str) -> None:
    os.unlink(f"{made}/checkpoint-300/optimizer.pt")
    state = Judged(made)

    assert state.guard(legs_from(100)) == (200, "checkpoint-200")
    (told,) = state.told
    assert isinstance(told, CheckpointQuarantined)
    assert (told.checkpoint, os.path.basename(told.to)) == ("checkpoint-300", "checkpoint-300")
    assert "optimizer.pt" in told.reason


def test_where_nothing_can_be_resumed_from_each_checkpoint_is_told_with_its_reason(made: str) -> None:
    for step in (100, 200, 300):
        os.unlink(f"{made}/checkpoint-{step}/optimizer.pt")
    state = Judged(made)

    with pytest.raises(TrainRefused, match="no checkpoint can be resumed from; --allow-fresh starts over"):
        state.guard(legs_from(100))
    assert all(isinstance(event, CheckpointSkipped) for event in state.told)
    assert [event[0] for event in state.told] == ["checkpoint-300", "checkpoint-200", "checkpoint-100"]


def test_the_best_checkpoint_is_told_while_it_is_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    assert Judged(run).verify(300, 200, ()).best == "checkpoint-300"

    edit_json(f"{run}/checkpoint-300/trainer_state.json", best_model_checkpoint=f"{run}/checkpoint-250")
    assert Judged(run).verify(300, 200, ()).best is None
    assert Judged(run).verify(400, 300, ()).best is None


def test_a_torn_checkpoint_is_one_that_our_leg_did_not_finish_and_nobody_saw_complete(made: str) -> None:
    os.unlink(f"{made}/checkpoint-300/trainer_state.json")
    state = Judged(made)

    assert [item.name for item in state.torn(legs_from(100, 200), 200)] == ["checkpoint-300"]
    assert state.torn(legs_from(100, 200), 300) == []
    assert state.torn(legs_from(300), 200) == []  # it is none of ours
    assert state.torn(Timeline(), 200) == []
    assert state.clear_torn(legs_from(200), 200)
    assert state.there() == ["checkpoint-100", "checkpoint-200"]
    assert state.told == [CheckpointTorn("checkpoint-300")]
    assert not state.clear_torn(legs_from(200), 200)


def test_a_checkpoint_that_was_seen_complete_is_kept_though_it_is_damaged_since(made: str) -> None:
    verify(made, Options(settle_seconds=0))
    os.unlink(f"{made}/checkpoint-300/trainer_state.json")

    assert not Judged(made).clear_torn(legs_from(200), 200)


def test_what_is_beyond_a_step_is_given_up(made: str) -> None:
    state = Judged(made)

    state.give_up(200)

    assert state.there() == ["checkpoint-100", "checkpoint-200"]


def test_a_checkpoint_that_cannot_be_removed_is_an_error_in_one_line(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(AuditError, match=r"checkpoint-300: cannot be removed: Permission denied$"):
        Judged(made).give_up(200)


def test_a_run_that_cannot_be_listed_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"run: cannot be listed: No such file or directory$"):
        Judged(str(tmp_path / "run")).check_way(0)


@pytest.mark.parametrize(
    ("step", "left", "more"),
    [
        (300, (200, 300), {"limit": 2}),
        (300, (300,), {"limit": 1}),
        (300, (100, 200, 300), {"limit": 3}),
        (300, (100, 200, 300), {}),
        (400, (100, 200, 300), {"limit": 2}),  # its checkpoint is not there: nothing is known of its rotation
        (200, (200, 300), {"limit": 2}),
        (300, (100, 200, 300), {"limit": 5}),
    ],
)
def test_the_rotation_that_the_trainer_did_not_come_to_is_finished(
    step: int, left: tuple[int, ...], more: dict[str, Any], tmp_path: Path
) -> None:
    state = Judged(make_run(tmp_path / "run", **more))

    state.finish_rotation(step)

    assert state.there() == [f"checkpoint-{kept}" for kept in left]
    gone = [kept for kept in (100, 200, 300) if kept not in left]
    assert state.told == [CheckpointRotated(f"checkpoint-{kept}") for kept in gone]


def test_the_rotation_leaves_the_best_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=2, best=True)
    edit_json(f"{run}/checkpoint-300/trainer_state.json", best_model_checkpoint=f"{run}/checkpoint-100")
    state = Judged(run)

    state.finish_rotation(300)

    assert state.there() == ["checkpoint-100", "checkpoint-300"]


def test_errors_of_the_run_and_at_a_place_of_its_log_are_known_from_before_a_batch(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_run, of_log = finding(), finding(step=250, checkpoint="checkpoint-200")
    others = (finding(checkpoint="checkpoint-200", rule="of/it"), finding(severity=Severity.WARNING, rule="no/error"))

    def found(*asked: Any, **options: Any) -> Guarded:
        guarded = consult(*asked, **options)
        return guarded._replace(report=guarded.report._replace(findings=(of_run, of_log, *others)))

    monkeypatch.setattr("audit.training.run_state.consult", found)
    state = Judged(made)

    assert state.guard(Timeline()) == (300, "checkpoint-300")
    assert set(state.known) == {("made/up", None, None), ("made/up", None, 250)}


# -- What counts against a batch --------------------------------------------------------------------------------------


def finding(**changes: Any) -> Finding:
    made = Finding("made/up", Severity.ERROR, None, None, "It is wrong", None, None, "Look.", False)
    return made._replace(**changes)


@pytest.fixture
def proven(made: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verified]:
    """``proven(*findings)``: what is said of the batch of the steps 201 to 300, with the findings that rules have."""
    judge = verify_run

    def verified(*findings: Finding, known: tuple[Known, ...] = (), notes: tuple[str, ...] = ()) -> Verified:
        def found(*asked: Any, **options: Any) -> tuple[Any, Report]:
            run, report = judge(*asked, **options)
            return run, report._replace(findings=findings, notes=notes)

        monkeypatch.setattr("audit.training.run_state.verify_run", found)
        state = Judged(made)
        result = state.verify(300, 200, known)
        assert state.told == [Note(note) for note in notes]
        return result

    return verified


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"checkpoint": "checkpoint-300"}, True),
        ({"checkpoint": "checkpoint-200"}, False),
        ({}, True),
        ({"step": 200}, True),
        ({"step": 300, "checkpoint": "checkpoint-200"}, True),
        ({"step": 200, "checkpoint": "checkpoint-200"}, True),
        ({"step": 199, "checkpoint": "checkpoint-200"}, False),
        ({"step": 301, "checkpoint": "checkpoint-200"}, False),
        ({"severity": Severity.WARNING}, False),
        ({"severity": Severity.WARNING, "checkpoint": "checkpoint-300"}, False),
    ],
)
def test_errors_of_the_last_checkpoint_the_run_and_the_log_of_a_batch_count_against_it(
    changes: dict[str, Any], counts: bool, proven: Callable[..., Verified]
) -> None:
    found = finding(**changes)
    result = proven(found, finding(checkpoint="checkpoint-100"))

    assert result.against == ((found,) if counts else ())
    assert result.problem == ("It is wrong (made/up)" if counts else None)


def test_what_was_known_before_a_batch_counts_against_it_only_at_its_own_checkpoint(
    proven: Callable[..., Verified],
) -> None:
    of_run, of_log = finding(), finding(step=250, checkpoint="checkpoint-200")
    known: tuple[Known, ...] = (("made/up", None, None), ("made/up", None, 250))

    assert proven(of_run, of_log, known=known).against == ()
    assert proven(of_run, of_log, known=known[:1]).against == (of_log,)
    last = finding(checkpoint="checkpoint-300")
    assert proven(last, known=known).against == (last,)


def test_what_a_person_accepted_is_told_and_does_not_count(proven: Callable[..., Verified]) -> None:
    found = finding(accepted="known")
    result = proven(found, notes=("a note",))

    assert (result.against, result.accepted, result.problem) == ((), (found,), None)


def test_the_losses_of_a_batch_are_those_logged_after_it_began(proven: Callable[..., Verified]) -> None:
    result = proven()

    assert [step for step, _ in result.losses(280)] == [290, 300]
    assert result._replace(step=400).losses(280) == ()
    assert (result.checkpoint, result._replace(step=400).checkpoint) == ("checkpoint-300", None)


def test_a_step_without_a_checkpoint_is_not_proven(made: str) -> None:
    assert Judged(made).verify(400, 300, ()).problem == "there is no checkpoint of step 400"
