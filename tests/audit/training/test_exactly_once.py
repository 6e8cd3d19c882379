"""A life of a training in which the user changes his mind: settings, names, places. Each example is trained as often as
asked.

The model is small on purpose: a list of what was dropped. What the ledger says is not looked at.
"""

import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop
from tests.audit.training.test_chaos import Clock, counted
from tests.audit.training.toy import POISON, Kill

SETTINGS = {"per_step": (1, 2, 3, 5), "seed": (1, 2), "shuffle": ("true", "false"), "save_steps": (2, 3, 99)}


class Life:
    """A shop, and what a user does to it; ``files`` are the examples of each good file that was ever dropped."""

    def __init__(self, home: Path, seed: int) -> None:
        self.shop, self.chance = Shop(home), random.Random(seed)
        self.files: list[list[int]] = []
        self.epochs: set[int] = {1}
        self.settings: dict[str, Any] = {"per_step": 2, "seed": 1, "shuffle": "true", "save_steps": 3, "epochs": 1}
        self.away = home / "away"
        self.away.mkdir()
        self.clock = Clock()
        self.shop.backend.tick = self.clock.tick
        self.told: list[str] = []
        self.configure()

    def configure(self) -> None:
        values = self.settings
        (self.shop.home / "train.toml").write_text(
            f'run = "{self.shop.run.name}"\nbackend = "toy"\nseed = {values["seed"]}\n[data]\ninbox = "inbox"\n'
            f"epochs = {values['epochs']}\nshuffle = {values['shuffle']}\n[toy]\nper_step = {values['per_step']}\n"
            f"save_steps = {values['save_steps']}\n[watch]\nsettle-seconds = 0\n"
        )

    def drop(self) -> None:
        first = 100 * (len(self.files) + 1)
        self.files.append(list(range(first, first + self.chance.randint(1, 9))))
        self.shop.drop(f"{self.chance.choice('abc')}{len(self.files)}.jsonl", self.files[-1])

    def drop_again(self) -> None:
        if self.files:
            self.shop.drop(f"again{self.chance.randint(0, 9)}.jsonl", self.chance.choice(self.files))

    def drop_bad(self) -> None:
        self.shop.drop(f"bad{self.chance.randint(0, 9)}.jsonl", [self.chance.randint(1, 99), POISON])

    def change(self) -> None:
        key = self.chance.choice(sorted(SETTINGS))
        self.settings[key] = self.chance.choice(SETTINGS[key])
        self.configure()

    def change_epochs(self) -> None:
        self.settings["epochs"] = self.chance.choice((1, 2, 3))
        self.epochs.add(int(self.settings["epochs"]))
        self.configure()

    def rename(self) -> None:
        for path in self._lying("inbox"):
            path.rename(path.with_name(f"renamed-{self.chance.randint(0, 99)}-{path.name}"))

    def take_away(self, place: str = "inbox") -> None:
        for path in self._lying(place):
            shutil.move(path, self.away / f"{self.chance.random()}.jsonl")

    def empty_done(self) -> None:
        self.take_away("done")

    def bring_back(self) -> None:
        for path in sorted(self.away.iterdir()):
            shutil.move(path, self.shop.inbox / path.name)

    def move_the_run(self) -> None:
        new = self.shop.home / f"run{self.chance.randint(0, 9**9)}"
        if self.shop.run.exists():
            self.shop.run.rename(new)
            self.shop.run = new
            self.configure()

    def break_newest(self) -> None:
        found = sorted(self.shop.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        if found:
            (found[-1] / self.chance.choice(("optimizer.pt", "scheduler.pt"))).unlink(missing_ok=True)
            if self.chance.random() < 0.5:
                shutil.rmtree(self.shop.run / ".audit" / "pinned", ignore_errors=True)

    def train(self, skip_lost: bool = False) -> None:
        try:
            self.shop.train(allow_fresh=True, skip_lost=skip_lost)
        except Kill:
            pass
        except AuditError as error:
            self.told.append(str(error))
        finally:
            self.clock.left = None
            self.shop.backend.stop_after = None

    def train_without(self) -> None:
        self.train(skip_lost=True)

    def train_killed(self) -> None:
        self.clock.left = self.chance.randint(0, 90)
        with counted(self.clock):
            self.train()

    def train_stopped(self) -> None:
        self.shop.backend.stop_after = self.chance.randint(1, 40)
        self.train()

    def lose_and_find(self) -> None:
        """A batch is cut off, its file gone, another one trained instead, and then it is there again."""
        self.drop()
        self.train_killed() if self.chance.random() < 0.5 else self.train_stopped()
        self.take_away()
        self.change()
        self.drop()
        self.train_without()
        if self.chance.random() < 0.3:
            self.break_newest()
        self.bring_back()

    def end(self) -> None:
        for _ in range(len(self.files) + 3):
            self.bring_back()
            self.told.clear()
            self.train()
            if not self.told and not self._lying("inbox"):
                return

    def _lying(self, place: str) -> list[Path]:
        home = self.shop.home / place
        return sorted(path for path in home.iterdir() if path.name[0] != ".") if home.is_dir() else []


ACTS = (
    *(["drop"] * 6),
    *(["train", "train_killed", "train_stopped"] * 3),
    *(["change"] * 3),
    *("drop_again", "drop_bad", "change_epochs", "rename", "take_away", "empty_done", "bring_back"),
    *("move_the_run", "break_newest", "train_without", "lose_and_find"),
)


def live(seed: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        life = Life(Path(home), seed)
        acts = []
        for _ in range(life.chance.randint(4, 16)):
            acts.append(life.chance.choice(ACTS))
            getattr(life, acts[-1])()
        life.end()
        assert life.told == [], (seed, acts)
        if life.files:
            _check(life, f"{seed} {' '.join(acts)}")


def _check(life: Life, acts: str) -> None:
    times = Counter(life.shop.trained())
    good = {example for examples in life.files for example in examples}
    assert set(times) == good, acts
    for examples in life.files:
        counts = {times[example] for example in examples}
        assert len(counts) == 1, (acts, examples, times)
        assert counts <= life.epochs, (acts, examples, times)
    assert verify(os.fspath(life.shop.run)).verdict != "broken", acts


def test_a_batch_that_was_killed_lost_given_up_and_found_goes_on_where_it_was(tmp_path: Path) -> None:
    life = Life(tmp_path, 0)
    life.settings["save_steps"] = 1
    life.configure()
    life.shop.drop("a.jsonl", list(range(100, 110)))
    killed = ["step 4"]

    def tick(what: str) -> None:
        if what in killed:
            killed.remove(what)
            raise Kill(what)

    life.shop.backend.tick = tick
    life.train()
    life.take_away()
    for held in life.shop.inbox.iterdir():
        held.unlink()
    life.train()
    assert "a.jsonl: is trained to step 3, not to its end, but it is neither in the inbox nor in done" in life.told[0]
    life.settings.update(seed=2, epochs=3, per_step=3)  # what was begun is ended as it was begun
    life.shop.drop("b.jsonl", [201])
    life.configure()
    life.train_without()
    life.bring_back()

    life.train()

    times = Counter(life.shop.trained())
    assert {times[example] for example in range(100, 110)} == {1}
    assert times[201] == 3


def test_a_batch_that_was_once_trained_is_not_forgotten_because_its_file_is_taken_out_of_done(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.train()
    shop.drop("b.jsonl", [5, 6])
    shop.train()
    (shop.run / "checkpoint-3" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")

    def die(what: str) -> None:
        raise Kill(what)

    shop.backend.tick = die
    with pytest.raises(Kill):
        shop.train()  # b is trained anew, and is killed before its first step
    shop.backend.tick = lambda what: None
    (shop.home / "done" / "b.jsonl").unlink()

    with pytest.raises(TrainRefused, match=r"b\.jsonl: .*neither in the inbox nor in done.*--skip-lost"):
        shop.train()


def test_a_found_batch_is_not_trained_from_its_beginning_after_a_step_back(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    shop.train()
    shop.backend.stop_after = None
    kept = (shop.inbox / "a.jsonl").read_text()
    (shop.inbox / "a.jsonl").unlink()
    shop.drop("b.jsonl", [20, 21, 22, 23])
    shop.train(skip_lost=True)
    (shop.inbox / "a.jsonl").write_text(kept)
    shop.train()
    for step in (6, 5):
        shutil.rmtree(shop.run / f"checkpoint-{step}", ignore_errors=True)
    shutil.rmtree(shop.run / ".audit" / "pinned")

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), 20, 21, 22, 23]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_user_changes_every_example_is_trained_as_often_as_asked(seed: int) -> None:
    live(seed)


@pytest.mark.slow
def test_whatever_the_user_changes_at_length() -> None:
    for seed in range(1000, 1400):
        live(seed)
