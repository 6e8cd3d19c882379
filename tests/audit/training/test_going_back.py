"""Going back to a checkpoint: what follows is given up, its files are trained again or dropped, however it is killed.

The witness is the checkpoint's own list of what it was trained on; what the ledger says is not looked at.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from audit.api import guard, verify
from audit.errors import AuditError
from audit.facts.run import Run
from audit.ledger.back_events import GoingBack
from audit.ledger.events import Accepted
from audit.ledger.records import accepted_in, read_records
from audit.ledger.store import Ledger, Row
from audit.retention.quarantine import Candidate, Held, isolate, restore, wanted
from audit.training.data_files import digest_of, seen
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, plan
from tests.audit.training.test_chaos import Clock, counted
from tests.audit.training.toy import Kill, kill_at

A, B, C = [1, 2, 3, 4], [11, 12, 13, 14], [21, 22]
"""Steps 1-2, 3-4 and 5."""


@pytest.fixture
def trained(shop: Shop) -> Shop:
    return _trained(shop)


def _trained(shop: Shop) -> Shop:
    for name, examples in (("a.jsonl", A), ("b.jsonl", B), ("c.jsonl", C)):
        shop.drop(name, examples)
    assert shop.train() == 0
    return shop


def _checkpoints(shop: Shop, place: str = "") -> list[str]:
    home = shop.run / ".audit" / place if place else shop.run
    return sorted(path.name for path in home.glob("checkpoint-*"))


def test_what_follows_is_set_aside_and_its_files_are_trained_again(trained: Shop) -> None:
    assert trained.train(back_to="checkpoint-2") == 0

    (said,) = trained.said("back")
    assert said == {
        "event": "back",
        "checkpoint": "checkpoint-2",
        "step": 2,
        "reached": 5,
        "aside": ["checkpoint-3", "checkpoint-4", "checkpoint-5"],
        "again": ["b.jsonl", "c.jsonl"],
        "dropped": [],
    }
    assert _checkpoints(trained, "quarantine") == ["checkpoint-3", "checkpoint-4", "checkpoint-5"]
    assert sorted(trained.trained()) == sorted(A + B + C)
    assert trained.names("done") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert verify(str(trained.run)).verdict == "sound"


def test_a_dropped_file_is_never_trained_again_unless_somebody_says_so(trained: Shop) -> None:
    assert trained.train(back_to="checkpoint-2", drop=("b.jsonl",)) == 0

    assert trained.trained() == [*trained.trained(2), *C] or sorted(trained.trained()) == sorted(A + C)
    assert trained.names("rejected") == ["b.jsonl"]
    assert trained.said("dropped")[0]["to"] == str(trained.home / "rejected" / "b.jsonl")
    trained.drop("again.jsonl", B)
    assert trained.train() == 1
    assert "dropped for good" in trained.said("duplicate")[0]["reason"]
    (trained.inbox / "rows.jsonl").write_text((trained.home / "rejected" / "b.jsonl").read_text().rstrip("\n"))
    assert trained.train() == 1  # the same rows in other bytes
    assert sorted(trained.trained()) == sorted(A + C)

    trained.drop("again.jsonl", B)
    assert trained.train(allow_dropped=True) == 0
    assert sorted(trained.trained()) == sorted(A + B + C)
    assert verify(str(trained.run)).verdict == "sound"


def test_a_batch_is_given_up_in_its_middle(trained: Shop) -> None:
    assert trained.train(back_to="checkpoint-3", drop=("b.jsonl",)) == 0

    assert trained.trained() == [*trained.trained(3), *trained.trained()[6:]]
    assert sorted(trained.trained()[6:]) == C
    assert len(trained.trained(3)) == 6


def test_a_batch_goes_on_from_its_middle(trained: Shop) -> None:
    before = trained.trained()

    assert trained.train(back_to="checkpoint-3") == 0

    assert trained.trained() == before


def test_nothing_is_done_where_the_run_is_there_already(trained: Shop) -> None:
    assert trained.train(back_to="checkpoint-5") == 0
    assert "nothing follows it" in trained.said("note")[0]["text"]
    assert trained.said("back") == []


def test_a_refusal_names_the_checkpoints_that_can_be_gone_back_to(trained: Shop) -> None:
    (trained.run / "checkpoint-3" / "optimizer.pt").unlink()

    with pytest.raises(
        TrainRefused, match=r"there is no checkpoint-7 in .* can go back to: checkpoint-2, checkpoint-4, checkpoint-5$"
    ):
        trained.train(back_to="checkpoint-7")
    with pytest.raises(TrainRefused, match=r"checkpoint-3 is not proven: .*; it can go back to: checkpoint-2, "):
        trained.train(back_to="checkpoint-3")
    assert _checkpoints(trained, "quarantine") == []


def test_a_file_that_cannot_be_dropped_is_refused_before_anything_is_done(trained: Shop) -> None:
    with pytest.raises(
        TrainRefused, match=r"a\.jsonl: was trained by step 2: nothing comes before it, so start a new run"
    ):
        trained.train(back_to="checkpoint-2", drop=("a.jsonl",))
    with pytest.raises(TrainRefused, match=r"x\.jsonl: was never begun.*is b\.jsonl, c\.jsonl"):
        trained.train(back_to="checkpoint-2", drop=("x.jsonl",))
    (trained.home / "done" / "b.jsonl").unlink()
    with pytest.raises(TrainRefused, match=r"b\.jsonl would be trained again, but is neither"):
        trained.train(back_to="checkpoint-2")
    assert _checkpoints(trained, "quarantine") == []
    assert trained.train(back_to="checkpoint-2", drop=("b.jsonl",)) == 0
    assert sorted(trained.trained()) == sorted(A + C)


@pytest.mark.parametrize("place", ["pinned", "quarantine"])
def test_the_target_may_be_where_only_a_pin_or_the_quarantine_has_it(trained: Shop, place: str) -> None:
    home = trained.run / ".audit" / place
    home.mkdir(exist_ok=True)
    if place == "pinned":
        shutil.rmtree(home / "checkpoint-5")
    shutil.move(trained.run / "checkpoint-2", home / "checkpoint-2")
    before = trained.trained()

    assert trained.train(back_to="checkpoint-2") == 0

    assert sorted(trained.trained()) == sorted(before)
    assert "checkpoint-2" in _checkpoints(trained)
    assert verify(str(trained.run)).verdict == "sound"


def test_once_a_leg_has_begun_what_was_given_up_cannot_be_gone_back_to(trained: Shop) -> None:
    trained.train(back_to="checkpoint-2", drop=("b.jsonl",))

    with pytest.raises(TrainRefused, match="steps that were given up before"):
        trained.train(back_to="checkpoint-5")


def _kill_in_going_back(moment: int, drop: tuple[str, ...]) -> bool:
    """One life, killed before this act; return whether it came to its end without."""
    with tempfile.TemporaryDirectory() as home:
        shop, clock = _trained(Shop(Path(home), toy="per_step = 2\nlimit = 3")), Clock()
        shop.backend.tick = clock.tick
        clock.left = moment
        killed = False
        try:
            with counted(clock):
                shop.train(back_to="checkpoint-3", drop=drop)
        except Kill:
            killed = True
        clock.left = None
        begun = shop.run.joinpath(".audit/quarantine").is_dir() or not killed
        shop.train()
        if not begun and not (shop.home / "rejected").is_dir():  # killed before the act began: nothing was given up
            assert sorted(shop.trained()) in (sorted(A + B + C), sorted(A + B[:2] + C)) or drop, moment
        left = [example for example in shop.trained() if example in B]
        assert sorted(set(shop.trained())) == sorted(shop.trained()), moment
        if shop.names("rejected"):
            assert shop.names("rejected") == list(drop), moment
            assert len(left) == 2, moment  # step 3 was kept
        else:
            assert sorted(shop.trained()) == sorted(A + B + C), moment
        assert set(A + C) <= set(shop.trained()), moment
        assert verify(str(shop.run)).verdict == "sound", moment
        return not killed


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment_it_is_finished_by_the_next_call(seed: int) -> None:
    _kill_in_going_back(random.Random(seed).randrange(40), ("b.jsonl",) if seed % 2 else ())


@pytest.mark.slow
@pytest.mark.parametrize("drop", [(), ("b.jsonl",)])
def test_killed_before_each_single_act(drop: tuple[str, ...]) -> None:
    moment = 0
    while not _kill_in_going_back(moment, drop):
        moment += 1
    assert moment > 20


def _random_life(seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        shop, clock = Shop(Path(home), toy="per_step = 2\nsave_steps = 2"), Clock()
        shop.backend.tick = clock.tick
        files: dict[str, list[int]] = {}
        dropped: set[str] = set()
        for number in range(chance.randint(4, 9)):
            if chance.random() < 0.6 or number < 2:
                name = f"{number}.jsonl"
                files[name] = list(range(100 * number, 100 * number + chance.randint(1, 8)))
                shop.drop(name, files[name])
            options: dict[str, object] = {}
            there = _checkpoints(shop)
            if there and chance.random() < 0.6:
                names = chance.sample(sorted(files), chance.randint(0, 1))
                options = {"back_to": chance.choice(there), "drop": tuple(names)}
            clock.left = chance.randint(0, 80) if chance.random() < 0.6 else None
            _call(shop, clock, options)
            dropped |= set(shop.names("rejected"))
        for _ in range(4):
            _call(shop, clock, {})
        dropped |= set(shop.names("rejected"))
        times = shop.trained()
        assert len(set(times)) == len(times), seed
        for name, examples in files.items():
            if name not in dropped:
                assert set(examples) <= set(times), (seed, name)
        assert shop.names("inbox") == [], seed
        assert verify(str(shop.run)).verdict == "sound", seed


def _call(shop: Shop, clock: Clock, options: dict[str, object]) -> None:
    try:
        with counted(clock):
            shop.train(allow_fresh=True, **options)
    except (Kill, TrainRefused):
        pass
    finally:
        clock.left = None


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_taken_back_and_killed_each_kept_example_is_trained_once(seed: int) -> None:
    _random_life(seed)


@pytest.mark.slow
def test_whatever_is_taken_back_at_length() -> None:
    for seed in range(100, 300):
        _random_life(seed)


def test_a_run_without_a_ledger_that_can_be_used_is_not_taken_back(trained: Shop) -> None:
    os.truncate(trained.run / ".audit" / "ledger.db", 100)

    with pytest.raises(AuditError, match="ledger"):
        trained.train(back_to="checkpoint-2")


def test_the_second_half_of_a_batch_in_two_parts_is_trained_again(tmp_path: Path) -> None:
    """Its file came back after other batches were trained; then the run goes back into the middle of that half."""
    shop = Shop(tmp_path / "shop", toy="per_step = 2\nsave_steps = 1")
    eight = [1, 2, 3, 4, 5, 6, 7, 8]
    for name, examples in (("a.jsonl", eight), ("b.jsonl", B), ("c.jsonl", C)):
        shop.drop(name, examples)
    assert shop.train() == 0
    assert shop.train(back_to="checkpoint-2", drop=("a.jsonl",)) == 0
    back = shop.home / "rejected" / "a.jsonl"
    back.rename(shop.home / "inbox" / "a.jsonl")
    assert shop.train(allow_dropped=True) == 0
    assert shop.train(back_to="checkpoint-3") == 0
    assert sorted(shop.trained()) == sorted(eight + B + C)


def test_what_was_adopted_is_not_given_up(trained: Shop) -> None:
    """Nobody knows which files the adopted steps are of: they would be trained no more."""
    shutil.rmtree(trained.run / ".audit")
    assert trained.train(adopt=True) == 0
    with pytest.raises(TrainRefused, match="the steps up to 5 were adopted"):
        trained.train(back_to="checkpoint-2")


def test_a_drop_is_not_undone_by_going_forward(trained: Shop) -> None:
    """checkpoint-5 was trained on the dropped file, which the ledger and the inbox take for never trained."""
    assert trained.train(back_to="checkpoint-2", drop=("b.jsonl", "c.jsonl")) == 0
    with pytest.raises(TrainRefused, match=r"checkpoint-5 was trained on b\.jsonl, c\.jsonl, dropped"):
        trained.train(back_to="checkpoint-5")
    assert _checkpoints(trained) == ["checkpoint-2"]


def test_what_wasaccepted_in_a_history_that_was_given_up_holds_no_longer() -> None:
    early, late = (Accepted("loss/restarted", f"checkpoint-{step}", step, "judged") for step in (2, 4))
    written = (early.row(), late.row(), GoingBack("checkpoint-3", 3, "", ()).row())
    rows = [Row(number, "2026-11-21T12:00:00Z", *row) for number, row in enumerate(written, 1)]

    assert accepted_in(rows[:2]) == (early, late)
    assert accepted_in(rows) == (early,)


def test_what_has_a_number_in_quarantine_is_named_in_a_refusal(trained: Shop) -> None:
    trained.train(back_to="checkpoint-2")  # trains 3 to 5 again
    before = trained.trained()
    trained.backend.tick = kill_at("step 3")
    with pytest.raises(Kill):
        trained.train(back_to="checkpoint-2")
    trained.backend.tick = lambda what: None
    assert "checkpoint-5.1" in _checkpoints(trained, "quarantine")
    # A leg has begun: what was given up is of steps that the ledger no longer knows.
    with pytest.raises(TrainRefused, match=r"checkpoint-5 \(in quarantine as checkpoint-5\.1\) is of steps that were"):
        trained.train(back_to="checkpoint-5.1")
    assert trained.train() == 0
    assert trained.trained() == before


def test_an_entry_with_a_number_in_quarantine_undoes_going_back(trained: Shop) -> None:
    trained.train(back_to="checkpoint-2")
    before = trained.trained()
    trained.backend.examples_per_step = lambda settings, processes: _nothing()  # type: ignore[method-assign]
    with pytest.raises(AuditError, match="not now"):
        trained.train(back_to="checkpoint-2")
    del trained.backend.examples_per_step
    assert {"checkpoint-5", "checkpoint-5.1"} <= set(_checkpoints(trained, "quarantine"))

    assert trained.train(back_to="checkpoint-5.1") == 0

    assert trained.trained() == before
    assert _checkpoints(trained)[-1] == "checkpoint-5"
    assert verify(str(trained.run)).verdict == "sound"


def test_a_name_that_is_not_in_quarantine_under_this_number_is_refused(trained: Shop) -> None:
    with pytest.raises(TrainRefused, match=r"there is no checkpoint-5\.3 in the run"):
        trained.train(back_to="checkpoint-5.3")


def _nothing() -> int:
    raise AuditError("not now")


def test_every_copy_of_a_dropped_file_is_set_aside(shop: Shop) -> None:
    shop.drop("a.jsonl", A)
    assert shop.train() == 0
    other = shop.home / "done" / "b.jsonl"
    shop.drop("b.jsonl", [31, 32])
    assert shop.train() == 0
    shop.drop("b.jsonl", B)  # of another content under the same name: done has b.1.jsonl then
    assert shop.train() == 0
    shop.drop("b.jsonl", B)
    assert shop.train() == 1  # a duplicate: rejected has b.jsonl
    assert shop.names("rejected") == ["b.jsonl"]
    digest = digest_of(seen(str(shop.home / "done" / "b.1.jsonl"), "b.1.jsonl"))  # type: ignore[arg-type]

    assert shop.train(back_to="checkpoint-3", drop=(digest[:16],)) == 0

    assert shop.names("done") == ["a.jsonl", "b.jsonl"]
    assert other.read_text() == (shop.home / "done" / "b.jsonl").read_text()
    assert sorted(shop.trained()) == sorted([*A, 31, 32])


def test_what_was_given_up_and_restored_is_not_handed_out(trained: Shop) -> None:
    assert trained.train(back_to="checkpoint-2", drop=("b.jsonl", "c.jsonl")) == 0
    records, ledger = read_records(str(trained.run), write=True)
    assert ledger is not None
    list(restore(str(trained.run), wanted(str(trained.run), ["checkpoint-5"]), ledger, 2))
    ledger.close()
    assert records.given_up == dict.fromkeys(["checkpoint-3", "checkpoint-4", "checkpoint-5"], "checkpoint-2")

    assert guard(str(trained.run)) == trained.run / "checkpoint-2"
    against = {item.checkpoint for item in verify(str(trained.run)).findings if item.rule == "history/given-up"}
    assert against == {"checkpoint-5"}
    trained.drop("d.jsonl", [41, 42])
    assert trained.train() == 0
    assert sorted(trained.trained()) == sorted([*A, 41, 42])
    assert verify(str(trained.run)).verdict == "sound"


def test_what_was_given_up_restored_and_gone_back_to_is_given_up_no_longer(trained: Shop) -> None:
    before = trained.trained()
    trained.backend.examples_per_step = lambda settings, processes: _nothing()  # type: ignore[method-assign]
    with pytest.raises(AuditError, match="not now"):
        trained.train(back_to="checkpoint-2")
    del trained.backend.examples_per_step
    assert trained.train(back_to="checkpoint-5") == 0

    assert trained.trained() == before
    assert guard(str(trained.run)) == trained.run / "checkpoint-5"


def test_what_is_trained_again_under_the_name_of_what_was_given_up_is_handed_out(trained: Shop) -> None:
    assert trained.train(back_to="checkpoint-2") == 0

    assert guard(str(trained.run)) == trained.run / "checkpoint-5"
    assert verify(str(trained.run)).verdict == "sound"


def _killed_in_going_back(shop: Shop, monkeypatch: pytest.MonkeyPatch, *, drop: tuple[str, ...], to: str) -> None:
    """The going back is recorded, the newest checkpoint is moved away, and then the process dies."""

    def die(run: Run, candidates: Sequence[Candidate], ledger: Ledger) -> Iterator[Held]:
        yield from isolate(run, candidates[:1], ledger)
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr("audit.training.going_back.isolate", die)
        with pytest.raises(Kill):
            shop.train(back_to=to, drop=drop)


def test_the_pin_of_steps_that_were_given_up_is_not_handed_out(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    _killed_in_going_back(trained, monkeypatch, drop=("b.jsonl",), to="checkpoint-2")
    assert _checkpoints(trained, "pinned") == ["checkpoint-5"]
    assert _checkpoints(trained) == ["checkpoint-2", "checkpoint-3", "checkpoint-4"]

    assert guard(str(trained.run)) == trained.run / "checkpoint-2"
    report = verify(str(trained.run))
    assert (report.resume_from, report.pinned) == ("checkpoint-2", None)
    assert "interrupted: audit train finishes it" in report.findings[0].message


def test_what_was_never_sealed_is_not_handed_out_before_the_going_back_is_finished(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drop("a.jsonl", A)
    assert shop.train() == 0
    shop.drop("b.jsonl", [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24])
    shop.backend.tick = kill_at("step 8")
    with pytest.raises(Kill):
        shop.train()
    shop.backend.tick = lambda what: None
    _killed_in_going_back(shop, monkeypatch, drop=("b.jsonl",), to="checkpoint-2")
    shutil.copytree(shop.run / ".audit" / "quarantine" / "checkpoint-6", shop.run / "checkpoint-6")

    assert guard(str(shop.run)) == shop.run / "checkpoint-2"


def test_the_plan_finishes_a_going_back_as_the_training_does(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.drop("d.jsonl", [31, 32])
    _killed_in_going_back(trained, monkeypatch, drop=("b.jsonl",), to="checkpoint-2")

    planned = plan(trained)

    assert (planned.checkpoint, planned.decision.behind, planned.decision.skipped) == ("checkpoint-2", 0, ())
    assert [leg.work.file.name for leg in planned.legs] == ["c.jsonl", "d.jsonl"]
    assert planned.works
    assert any("would be finished first, b.jsonl dropped" in note for note in planned.notes)
    assert trained.train() == 0
    assert [item["file"] for item in trained.said("finished")] == ["c.jsonl", "d.jsonl"]


def test_the_plan_refuses_where_the_checkpoint_is_not_in_the_run_yet(
    trained: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trained.run / ".audit" / "quarantine").mkdir()
    shutil.move(trained.run / "checkpoint-3", trained.run / ".audit" / "quarantine" / "checkpoint-3")
    monkeypatch.setattr("audit.training.going_back.restore", _die)
    with pytest.raises(Kill):
        trained.train(back_to="checkpoint-3")

    assert "run audit train, which finishes it first" in (plan(trained).refusal or "")


def _die(*_: object) -> None:
    raise Kill
