"""Anything may happen, in any order: files dropped, kills between any two acts, broken checkpoints. Nothing is lost.

Killed here means that an exception ends the call between two acts (a row of the ledger, a rename, a link, a save); a
process that is really killed is tests/backends/hf_trainer/test_train_killed.py.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audit.api import verify
from audit.ledger.store import Ledger
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import POISON, Kill

DROP, BAD, TWICE, KILL, BREAK, TRAIN = "drop", "bad", "twice", "kill", "break", "train"
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just(DROP), st.integers(1, 9)),
        st.tuples(st.just(KILL), st.integers(0, 60)),
        st.tuples(st.just(BREAK), st.integers(0, 3)),
        st.tuples(st.sampled_from([BAD, TWICE, TRAIN]), st.just(0)),
    ),
    min_size=1,
    max_size=8,
)


class Clock:
    """Counts acts, and kills before the one whose turn it is."""

    def __init__(self) -> None:
        self.left: int | None = None

    def tick(self, what: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Kill(what)


@contextmanager
def counted(clock: Clock) -> Iterator[None]:
    """Let the clock tick before and after each act that changes something on the disk."""

    def around(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def act(*arguments: Any, **keywords: Any) -> Any:
            clock.tick(f"before {name}")
            result = function(*arguments, **keywords)
            clock.tick(f"after {name}")
            return result

        return act

    with ExitStack() as stack:
        for owner, name in ((Ledger, "append"), (Ledger, "remember"), (os, "link"), (os, "rename"), (os, "unlink")):
            stack.enter_context(mock.patch.object(owner, name, around(getattr(owner, name), name)))
        yield


def live(shop: Shop, acts: list[tuple[str, int]]) -> list[int]:
    """Do all of it; return every example that must have been trained."""
    clock = Clock()
    shop.backend.tick = clock.tick
    good: list[int] = []
    dropped: list[list[int]] = []
    for number, (act, how) in enumerate(acts):
        if act == DROP:
            names = list(range(100 * number, 100 * number + how))
            shop.drop(f"{number:02}.jsonl", names)
            dropped.append(names)
            good += names
        elif act == BAD:
            shop.drop(f"{number:02}-bad.jsonl", [100 * number, POISON])
        elif act == TWICE and dropped:
            shop.drop(f"{number:02}-again.jsonl", dropped[-1])
        elif act == BREAK:
            _break(shop, how)
        elif act in (KILL, TRAIN):
            clock.left = how if act == KILL else None
            with counted(clock):
                _train(shop, clock)
    _train(shop, clock)
    return good


def _train(shop: Shop, clock: Clock) -> None:
    try:
        shop.train(allow_fresh=True)
    except Kill:
        pass
    finally:
        clock.left = None


def _break(shop: Shop, how: int) -> None:
    """Damage the newest checkpoint; sometimes its pin shares the file, and is broken, too."""
    found = sorted(shop.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if not found:
        return
    newest = found[-1]
    if how == 0:
        (newest / "optimizer.pt").unlink(missing_ok=True)
    elif how == 1:
        weights = newest / "adapter_model.safetensors"
        if weights.exists():
            os.truncate(weights, weights.stat().st_size // 2)
    elif how == 2:
        (newest / "trainer_state.json").unlink(missing_ok=True)
    else:
        shutil.rmtree(shop.run / ".audit" / "pinned", ignore_errors=True)
        (newest / "scheduler.pt").unlink(missing_ok=True)


def check(acts: list[tuple[str, int]], toy: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        shop = Shop(Path(home), toy=toy)
        good = live(shop, acts)

        assert shop.names("inbox") == []
        if good:
            assert sorted(shop.trained()) == sorted(good)
            assert verify(str(shop.run)).verdict == "sound"


@given(ACTS, st.sampled_from(["save_steps = 2", "save_steps = 3\nlimit = 2", "save_steps = 99\nlimit = 1"]))
@example([(DROP, 6), (KILL, 14), (DROP, 3), (BREAK, 0), (KILL, 25)], "save_steps = 2")
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_every_good_example_is_trained_once(acts: list[tuple[str, int]], toy: str) -> None:
    check(acts, toy)


@pytest.mark.slow
@given(ACTS, st.sampled_from(["save_steps = 2", "save_steps = 3\nlimit = 2", "save_steps = 99\nlimit = 1"]))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_at_length(acts: list[tuple[str, int]], toy: str) -> None:
    check(acts, toy)


@pytest.mark.slow
def test_killed_before_each_single_act_of_three_batches() -> None:
    for moment in range(400):
        with tempfile.TemporaryDirectory() as home:
            shop, clock = Shop(Path(home), toy="save_steps = 2\nlimit = 2"), Clock()
            shop.backend.tick = clock.tick
            names = random.Random(moment).sample(range(1000), 16)
            for number, part in enumerate((names[:5], names[5:12], names[12:])):
                shop.drop(f"{number}.jsonl", part)
            clock.left = moment
            with counted(clock):
                _train(shop, clock)
            done = not shop.names("inbox")
            _train(shop, clock)
            assert sorted(shop.trained()) == sorted(names), moment
            assert shop.names("done") == ["0.jsonl", "1.jsonl", "2.jsonl"], moment
            assert verify(str(shop.run)).verdict == "sound", moment
            if done:
                return
    pytest.fail("no call ever came to its end")


def test_a_refusal_is_no_part_of_this(tmp_path: Path) -> None:
    """The chaos allows a fresh start; without that, where all is broken, training is refused."""
    shop = Shop(tmp_path, toy="save_steps = 99")
    shop.drop("a.jsonl", [1])
    shop.train()
    _break(shop, 3)
    shop.drop("b.jsonl", [2])
    with pytest.raises(TrainRefused):
        shop.train()
