"""The best checkpoint by a held-out file over all batches: kept from rotation, whatever kills the training.

The witness is the log of the newest checkpoint: the lowest evaluation since the held-out file was changed last.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import audit
from audit.errors import ConfigError
from audit.manager import load
from audit.training.config import read_train_config
from audit.views.best import choose
from audit.views.inspection import inspect
from tests.backends.hf_trainer.continuous import PATIENCE, Continuous, end_session, session_of, until

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

LOW, HIGH = (0, 30), (60, 90)
"""Tokens of two kinds of text: what is trained on one gets worse on the other."""


def rows(count: int, kind: tuple[int, int], seed: int) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(*kind) for _ in range(8)] for _ in range(count)]


def shop_of(home: Path, held_out: Path, arguments: str = "save_total_limit = 2") -> Continuous:
    arguments = f"learning_rate = 0.05\n{arguments}"
    return Continuous(home, data=f'eval = "{held_out}"', arguments=arguments, more='[guard]\nbest = "eval_loss"')


def write_held_out(path: Path, kind: tuple[int, int]) -> None:
    path.write_text("".join(f'{{"input_ids": {row}}}\n' for row in rows(8, kind, 99)))


def evaluated(shop: Continuous, since: int = 0) -> dict[int, float]:
    """Evaluations of the newest checkpoint's log by step."""
    step = max((int(path.parent.name.split("-")[1]) for path in shop.run.glob("*/trainer_state.json")), default=0)
    log = shop.logged(step) if step else []
    return {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row and row["step"] > since}


def best_by_the_log(shop: Continuous, since: int = 0) -> str | None:
    values = evaluated(shop, since)
    return f"checkpoint-{min(values, key=lambda step: (values[step], step))}" if values else None


def is_kept(shop: Continuous, since: int = 0) -> bool:
    best = best_by_the_log(shop, since)
    return best is None or (shop.run / best / "trainer_state.json").exists()


def test_the_best_of_an_early_batch_is_never_rotated_away(tmp_path: Path) -> None:
    held_out = tmp_path / "held.jsonl"
    write_held_out(held_out, LOW)
    shop = shop_of(tmp_path / "shop", held_out)
    for number, kind in enumerate((LOW, HIGH, HIGH)):
        shop.drop(f"{number}.jsonl", rows(12, kind, number))
    done = shop.straight(tmp_path / "done")

    best = best_by_the_log(done)
    assert list(evaluated(done)) == [2, 3, 4, 6, 8, 9]  # each save, and the end of each batch
    assert best == "checkpoint-3"
    assert sorted(path.name for path in done.run.glob("checkpoint-*")) == [best, "checkpoint-9"]
    choice = choose(inspect(str(done.run), registry=load()))
    assert choice.best is not None
    assert choice.best.checkpoint == best
    assert audit.verify(str(done.run)).findings == ()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("save_total_limit = 1", "save_total_limit: with 1 and a best model"),
        ('metric_for_best_model = "eval_accuracy"', "is another metric than guard.best"),
        ('eval_strategy = "no"', "guard.best needs evaluations"),
    ],
)
def test_arguments_that_contradict_it_are_refused(tmp_path: Path, arguments: str, why: str) -> None:
    shop = shop_of(tmp_path, tmp_path / "held.jsonl", arguments)
    with pytest.raises(ConfigError, match=why):
        read_train_config(str(shop.config), load())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux ends a child with its parent")
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_while_the_held_out_file_changes_it_stays_right(tmp_path: Path, seed: int) -> None:
    chance, kills, lives = random.Random(f"best {seed}"), 0, 0
    held_out = tmp_path / "held.jsonl"
    cut, whole = (shop_of(tmp_path / name, held_out) for name in ("cut", "whole"))
    since = 0
    rounds: Sequence[tuple[tuple[int, int], tuple[int, int]]] = ((LOW, LOW), (LOW, HIGH), (HIGH, HIGH), (HIGH, LOW))
    for number, (judge, kind) in enumerate(rounds):
        before = held_out.read_bytes() if held_out.exists() else b""
        write_held_out(held_out, judge)
        since = whole.step if held_out.read_bytes() != before else since
        examples = rows(chance.randint(20, 40), kind, number)
        for shop in (cut, whole):
            shop.drop(f"{number}.jsonl", examples)
        for _ in range(4):
            if killed_once(cut, chance):
                kills += 1
            lives += 1
            assert is_kept(cut, since), (number, best_by_the_log(cut, since))
        cut.call()
        whole.call()
        best = best_by_the_log(whole, since)
        assert best is not None
        assert best_by_the_log(cut, since) == best
        assert is_kept(cut, since)
        assert printed_best(cut) == printed_best(whole) == best
    assert kills >= 8, f"{kills} kills in {lives} lives"
    cut.check(whole)


@pytest.mark.slow
def test_a_best_checkpoint_that_is_lost_makes_way_for_the_next_best(tmp_path: Path) -> None:
    held_out = tmp_path / "held.jsonl"
    write_held_out(held_out, LOW)
    shop = shop_of(tmp_path / "shop", held_out, "save_total_limit = 4")
    for number, kind in enumerate((LOW, HIGH, HIGH)):
        shop.drop(f"{number}.jsonl", rows(16, kind, number))
    shop.call()
    best = best_by_the_log(shop)
    assert best is not None
    left = {path.name: value for path in shop.run.glob("checkpoint-*")
            if path.name != best and (value := evaluated(shop).get(int(path.name.split("-")[1])))}  # fmt: skip
    next_best = min(left, key=lambda name: left[name])
    shutil.rmtree(shop.run / best)
    shop.drop("3.jsonl", rows(30, HIGH, 3))
    shop.call()

    assert (shop.run / next_best).is_dir()
    assert printed_best(shop) == next_best
    assert audit.verify(str(shop.run)).findings == ()


def printed_best(shop: Continuous) -> str:
    command = [sys.executable, "-m", "audit", "best", str(shop.run)]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()).name


def killed_once(shop: Continuous, chance: random.Random) -> bool:
    """One life; whether it was killed before its end."""
    process = shop.start()
    try:
        assert process.stdout is not None
        for _ in range(chance.randint(0, 30)):
            process.stdout.readline()
        try:
            process.wait(chance.random() * chance.choice((0.02, 0.3, 1.0)))
            process.communicate(timeout=PATIENCE)
            return False
        except subprocess.TimeoutExpired:
            for member in session_of(process.pid):
                os.kill(member, signal.SIGKILL)
            process.communicate(timeout=PATIENCE)
            return True
    finally:
        end_session(process)
        until(lambda: not session_of(process.pid))
