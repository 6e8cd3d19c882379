"""``audit train`` with the real Trainer while its data files change, between two calls and during one."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.backends.hf_trainer.continuous import Continuous, examples

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux ends a child with its parent"),
]


def done(shop: Continuous, name: str) -> list[list[int]]:
    return [json.loads(line)["input_ids"] for line in (shop.home / "done" / name).read_text().splitlines()]


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_batch_whose_file_is_deleted_between_two_calls_is_trained_to_its_end_and_kept(
    how: str, tmp_path: Path
) -> None:
    shop = Continuous(tmp_path / "shop")
    path = shop.drop("a.jsonl", examples(17, 1))
    with shop.held(4) as held:
        held.process.send_signal(signal.Signals[how])
        if how == "SIGTERM":
            held.release()
            held.end()
    path.unlink()
    with shop.held(5) as held:
        held.process.kill()
    shop.call()

    shop.check(shop.straight(tmp_path / "straight"))
    assert done(shop, "a.jsonl") == shop.dropped["a.jsonl"]
    assert not list(shop.inbox.glob(".held-*"))


def test_a_batch_whose_file_is_replaced_after_a_kill_is_kept_and_the_new_one_is_trained(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop")
    first = examples(17, 1)
    shop.drop("a.jsonl", first)
    with shop.held(4) as held:
        held.process.kill()
    second = examples(6, 2)
    shop.drop("a.jsonl", second)
    shop.call()

    trained = [row for rows in shop.trained().values() for row in rows]
    assert sorted(trained[:17]) == sorted(first)
    assert sorted(trained[17:]) == sorted(second)
    assert (done(shop, "a.jsonl"), done(shop, "a.1.jsonl")) == (first, second)


def test_without_its_ledger_a_batch_in_the_middle_is_not_trained_again_silently(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop")
    shop.drop("a.jsonl", examples(17, 1))
    with shop.held(4) as held:
        held.process.kill()
    before = len(shop.passes())
    shutil.rmtree(shop.run / ".audit")

    said = shop.call(code=1).stderr

    assert "checkpoint-2 (step 2) belongs to no batch that it records" in said
    assert "a.jsonl was being trained, and would be trained from its first example" in said
    assert len(shop.passes()) == before
    assert shop.waiting() == ["a.jsonl"]
