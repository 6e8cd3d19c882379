"""``audit train`` with the real Trainer, killed: nothing is lost, nothing is trained twice, not one bit differs."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from audit.retention.lock import holder_of
from tests.backends.hf_trainer.continuous import PATIENCE, Continuous, alive, end_session, examples, session_of, until

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux ends a child with its parent")

KILLS = 50


def test_killed_refused_and_interrupted_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop")
    shop.drop("a.jsonl", examples(17, 1))
    shop.drop("b.jsonl", examples(7, 2))

    with shop.held(4) as held:
        held.process.kill()
        held.process.wait()
        until(lambda: not alive(held.child))
        until(lambda: holder_of(str(shop.run)) is None)
    with shop.held(4) as held:
        second = shop.call(code=2)
        assert (second.stdout, second.stderr.count("\n")) == ("", 1)
        assert f"is being trained by process {held.process.pid}" in second.stderr
        held.process.send_signal(signal.SIGINT)
        held.release()
        code, events, errors = held.end()
    assert (code, errors) == (130, "")
    assert [event["step"] for event in events if event["event"] == "stopped"] == [4]
    shop.call()

    shop.check(shop.straight(tmp_path / "straight"))
    assert [item["legs"] for item in shop.rows()] == [3, 1]


@pytest.mark.slow
def test_killed_fifty_times_at_random_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("KILL_SEED", "4"))
    shop = Continuous(tmp_path / "shop", arguments="save_total_limit = 4")
    kills: Counter[str] = Counter()
    while kills.total() < KILLS:
        for _ in range(2 if not shop.waiting() else 0):
            number = len(shop.dropped)
            shop.drop(f"{number:03}.jsonl", examples(chance.randint(1, 50), number))
        process = shop.start()
        try:
            if _comes_to(process, chance):
                whom = chance.choice(("audit", "session", "child"))
                kills[whom] += 1
                _kill(process, whom)
            process.communicate(timeout=PATIENCE)
            until(partial(_gone, process.pid))
            assert process.returncode in (0, 1, -signal.SIGKILL)
        finally:
            end_session(process)
    shop.call()

    shop.check(shop.straight(tmp_path / "straight"))
    assert len(kills) == 3


def _gone(leader: int) -> bool:
    return not session_of(leader)


def _comes_to(process: "subprocess.Popen[str]", chance: random.Random) -> bool:
    """Let it run for some events and a moment; whether it still runs then."""
    assert process.stdout is not None
    for _ in range(chance.randint(0, 16)):
        process.stdout.readline()
    try:
        process.wait(chance.random() * chance.choice((0.02, 0.2, 2)))
    except subprocess.TimeoutExpired:
        return True
    return False


def _kill(process: "subprocess.Popen[str]", whom: str) -> None:
    others = [member for member in session_of(process.pid) if member != process.pid]
    victims = {"audit": [process.pid], "session": [process.pid, *others], "child": others}[whom]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
