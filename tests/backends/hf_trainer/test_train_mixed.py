"""Several files as one batch and replay, with the real Trainer: killed, each example is trained as often as it must."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from audit.retention.lock import holder_of
from tests.backends.hf_trainer.continuous import Continuous, alive, examples, until

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux ends a child with its parent")


@pytest.mark.slow
def test_killed_in_the_middle_small_files_and_replayed_rows_end_in_the_same_bits(tmp_path: Path) -> None:
    files = {"a.jsonl": examples(5, 1), "b.jsonl": examples(4, 2), "c.jsonl": examples(6, 3), "d.jsonl": examples(7, 4)}
    shops = [Continuous(tmp_path / name, data="group = 9\nreplay = 0.5") for name in ("killed", "straight")]
    for shop in shops:
        for name, rows in files.items():
            shop.drop(name, rows)
    killed, straight = shops

    with killed.held(4) as held:  # in the second batch, which replays
        held.process.kill()
        held.process.wait()
        until(lambda: not alive(held.child))
        until(lambda: holder_of(str(killed.run)) is None)
    killed.call()
    straight.call()

    assert killed.state() == straight.state()
    assert {item["file"]: item["replayed"] for item in killed.rows()} == {
        "a.jsonl and 1 more": 0,
        "c.jsonl and 1 more": 7,
    }
    assert sorted(path.name for path in (tmp_path / "killed" / "done").iterdir()) == sorted(files)
    for shop in shops:
        steps = shop.trained()
        first = [row for step in sorted(steps)[:3] for row in steps[step]]
        second = [row for step in sorted(steps)[3:] for row in steps[step]]
        assert _times(first) == _times(files["a.jsonl"] + files["b.jsonl"])
        again = _times(second) - _times(files["c.jsonl"] + files["d.jsonl"])
        assert again.total() == 7 == len(second) - 13
        assert not again - _times(first)


def _times(rows: list[list[int]]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(row) for row in rows)
