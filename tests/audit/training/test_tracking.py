"""What is found after each leg goes to the trackers of the process that trained it, and they can end no training."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.backend.training import Judged, OpenTrackers
from audit.errors import AuditError
from audit.hookspecs import hookimpl
from audit.manager import load
from audit.training import logging_thread, tracking
from audit.training.config import read_train_config
from audit.training.loop import TrainOptions, train
from audit.training.process import Here
from audit.training.run_state import TrainRefused
from audit.training.saves import Saves
from audit.training.tracking import log_here
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import Toy


class Tracked(Toy):
    """Logs to the tracker ``board``; what its plugin is told is in ``told``, what it answers is ``answer``."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Judged, str, list[str]]] = []
        self.answer: Callable[[], Mapping[str, str]] = dict
        self.failed: dict[str, str] = {}
        self.closed = 0

    def tracks(self, settings: Mapping[str, Any]) -> bool:
        return bool(settings["toy"].get("tracked", True))

    @contextmanager
    def trackers(self, without: Collection[str]) -> Iterator[OpenTrackers]:
        yield OpenTrackers(["a writer"], dict(self.failed))
        self.closed += 1


class Tracking(Shop):
    def __init__(self, home: Path, toy: str = "per_step = 2\nsave_steps = 9", more: str = "") -> None:
        self.tracked = Tracked()
        super().__init__(home, toy=toy, more=more, backend=self.tracked)

        @hookimpl
        def audit_legs_judged(
            run: str, judged: Sequence[Judged], since: str, writers: Sequence[Any], without: Collection[str]
        ) -> Mapping[str, str]:
            assert (run, writers) == (str(self.run), ["a writer"])
            self.tracked.told += [(item, since, sorted(without)) for item in judged]
            return self.tracked.answer()

        hears = SimpleNamespace(
            audit_training_backends=hookimpl(lambda: [self.backend]), audit_legs_judged=audit_legs_judged
        )
        self.registry = load([hears])

    def train_here(self) -> int:
        """One call as each process of a launcher makes it."""
        self.events = []
        config, trainer = read_train_config(str(self.home / "train.toml"), self.registry)
        return train(config, trainer, self.registry, self.emit, TrainOptions(), run_leg=Here(self.registry))

    def steps(self) -> list[int]:
        return [judged.step for judged, _, _ in self.tracked.told]

    def notes(self) -> list[str]:
        return [str(event["text"]) for event in self.said("note") if "no longer logged" in str(event["text"])]


@pytest.fixture
def shop(tmp_path: Path) -> Tracking:
    made = Tracking(tmp_path)
    made.drop("a.jsonl", [1, 2, 3, 4])
    made.drop("b.jsonl", [5, 6, 7, 8])
    return made


def test_each_leg_is_told_with_its_step_as_soon_as_it_is_judged(shop: Tracking) -> None:
    shop.train()

    assert shop.steps() == [2, 4]
    first = shop.tracked.told[0][0]
    assert (first.verdict, first.errors, first.resumable_step) == ("sound", 0, 2)
    assert shop.tracked.closed == 2
    assert not shop.notes()


def test_without_a_tracker_nobody_is_asked(tmp_path: Path) -> None:
    shop = Tracking(tmp_path, toy="per_step = 2\ntracked = false")
    shop.drop("a.jsonl", [1, 2])
    shop.train()

    assert (shop.steps(), shop.tracked.closed) == ([], 0)


def test_what_was_pushed_before_the_call_and_after_its_last_leg_is_new(shop: Tracking, monkeypatch: Any) -> None:
    shop.train()
    shop.drop("c.jsonl", [9, 10])
    monkeypatch.setattr(tracking, "utc_time", lambda: "2999-01-01T00:00:00Z")
    shop.drop("d.jsonl", [11, 12])
    shop.train()

    since = [when for _, when, _ in shop.tracked.told]
    assert since[0] == ""
    assert "2000" < since[2] < "2999"
    assert since[3] == "2999-01-01T00:00:00Z"


def test_a_leg_that_is_not_proven_is_told_too(shop: Tracking) -> None:
    def harm(what: str) -> None:
        if what == "saved 2":
            os.unlink(shop.run / "checkpoint-2" / "optimizer.pt")

    shop.tracked.tick = harm
    with pytest.raises(TrainRefused):
        shop.train()

    ((judged, _, _),) = shop.tracked.told
    assert (judged.step, judged.verdict, judged.resumable_step) == (2, "broken", -1)
    assert "files/missing-optimizer" in judged.worst


def test_a_tracker_that_does_not_take_it_is_named_once_and_left_alone(shop: Tracking) -> None:
    shop.tracked.answer = lambda: {"board": "OSError: disk full"}
    shop.tracked.failed = {"other": "ConnectionError: no answer"}
    shop.train()

    assert [without for _, _, without in shop.tracked.told] == [["other"], ["board", "other"]]
    assert sorted(set(shop.notes())) == [
        "board: what is found is no longer logged to it in this call: OSError: disk full",
        "other: what is found is no longer logged to it in this call: ConnectionError: no answer",
    ]
    assert len(shop.notes()) == 2


def test_a_plugin_that_raises_ends_no_training_and_is_not_asked_again(shop: Tracking) -> None:
    def burn() -> Mapping[str, str]:
        raise ValueError("odd\nand more")

    shop.tracked.answer = burn

    assert shop.train() == 0
    assert shop.steps() == [2]
    assert shop.notes() == ["what is found is no longer logged to a tracker in this call: ValueError: odd"]


def test_what_fails_here_is_one_error(shop: Tracking) -> None:
    def burn() -> Mapping[str, str]:
        raise ValueError("odd")

    shop.tracked.answer = burn
    found = tracking.Found([Judged(2, "sound", 0, 0, 2)], "")
    with pytest.raises(AuditError, match=r"^ValueError: odd$"):
        log_here(shop.tracked, shop.registry, str(shop.run), found)


SAVING = "per_step = 2\nsave_steps = 1"


def test_each_save_within_a_leg_is_told_with_its_step(tmp_path: Path) -> None:
    shop = Tracking(tmp_path, toy=SAVING)
    shop.drop("a.jsonl", [1, 2, 3, 4, 5, 6, 7, 8])
    shop.train()

    assert shop.steps() == [1, 2, 3, 4]
    assert {judged.verdict for judged, _, _ in shop.tracked.told} == {"sound"}
    assert not shop.notes()


def test_a_save_that_breaks_is_told_before_the_leg_has_ended(tmp_path: Path) -> None:
    shop = Tracking(tmp_path, toy=SAVING)
    shop.drop("a.jsonl", [1, 2, 3, 4, 5, 6, 7, 8])

    def harm(what: str) -> None:
        if what == "saved 2":
            os.unlink(shop.run / "checkpoint-2" / "optimizer.pt")

    shop.tracked.tick = harm
    shop.train()

    found = {judged.step: judged.verdict for judged, _, _ in shop.tracked.told}
    assert list(found) == [1, 2, 3, 4]
    assert found[2] == "broken"


def test_a_configuration_switches_it_off(tmp_path: Path) -> None:
    shop = Tracking(tmp_path, toy=SAVING)
    with (shop.home / "train.toml").open("a") as config:
        config.write("\n[trackers]\nfindings = false\n")
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.train()

    assert (shop.steps(), shop.tracked.closed) == ([], 0)


def batches(shop: Tracking) -> list[str]:
    return [os.path.basename(str(event["file"])) for event in shop.said("retired")]


def until(done: Callable[[], object]) -> None:
    for _ in range(6000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Whether something was found at a save of the leg and is not logged yet."""
    made: list[Saves] = []

    class Noted(Saves):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(tracking, "Saves", Noted)
    return lambda: made[-1]._found


@pytest.fixture
def silent() -> Iterator[Callable[[], Mapping[str, str]]]:
    """What a tracker does that never answers, until the test has ended."""
    ended = threading.Event()

    def never() -> Mapping[str, str]:
        ended.wait()
        return {}

    yield never
    ended.set()


def test_in_the_processes_of_a_launcher_saves_are_told_between_two_steps(
    tmp_path: Path, found: Callable[[], object]
) -> None:
    shop = Tracking(tmp_path, toy=SAVING)
    shop.drop("a.jsonl", list(range(12)))

    def wait_for_the_first(what: str) -> None:
        if what == "step 5":
            until(lambda: found() or shop.steps())
        if what == "step 6":
            until(shop.steps)

    shop.tracked.tick = wait_for_the_first
    shop.train_here()

    assert shop.steps() == [1, 2, 3, 4, 5, 6]
    assert not shop.notes()


def test_a_tracker_that_never_answers_at_a_save_holds_no_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    silent: Callable[[], Mapping[str, str]],
    found: Callable[[], object],
) -> None:
    monkeypatch.setattr(logging_thread, "PAUSE", 0.01)
    shop = Tracking(tmp_path, toy=SAVING, more="[trackers]\ntimeout-seconds = 0.05")
    shop.tracked.answer = silent
    shop.drop("a.jsonl", list(range(12)))
    shop.drop("b.jsonl", list(range(12, 24)))

    def wait_for_the_note(what: str) -> None:
        if what == "step 5":
            until(lambda: found() or shop.steps())
        if what == "step 6":
            until(shop.steps)
            time.sleep(0.1)  # the limit is over

    shop.tracked.tick = wait_for_the_note

    assert shop.train_here() == 0
    assert batches(shop) == ["a.jsonl", "b.jsonl"]
    assert shop.notes() == ["what is found is no longer logged to a tracker in this call: it took longer than 0.05 s"]
    assert shop.steps()[0] == 1
    assert max(shop.steps()) < 6, "the end of the leg was not logged any more"


def test_a_tracker_that_never_answers_after_a_leg_holds_no_batch(
    tmp_path: Path, silent: Callable[[], Mapping[str, str]]
) -> None:
    shop = Tracking(tmp_path, more="[trackers]\ntimeout-seconds = 0.05")
    shop.tracked.answer = silent
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.drop("b.jsonl", [5, 6, 7, 8])

    assert shop.train_here() == 0
    assert batches(shop) == ["a.jsonl", "b.jsonl"]
    assert shop.notes() == ["what is found is no longer logged to a tracker in this call: it took longer than 0.05 s"]
    assert shop.steps() == [2]
