"""``audit train`` with the real Trainer on data as people have it: every example once, also after a kill."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegData
from tests.backends.hf_trainer.continuous import Continuous
from tests.backends.hf_trainer.letters import VOCABULARY, letters

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux ends a child with its parent"),
]


def alpaca(count: int) -> list[dict[str, Any]]:
    more: tuple[dict[str, str], ...] = ({"input": ""}, {"input": "in French"}, {})
    return [
        {"instruction": f"say {number}", **more[number % 3], "output": "a" * (number + 1)} for number in range(count)
    ]


def sharegpt(count: int) -> list[dict[str, Any]]:
    return [
        {"conversations": [{"from": "human", "value": f"say {number}"}, {"from": "gpt", "value": "b" * (number + 1)}]}
        for number in range(count)
    ]


@pytest.mark.parametrize("killed", [False, True])
def test_alpaca_and_sharegpt_are_trained_once_each(killed: bool, tmp_path: Path) -> None:
    from audit_hf_trainer.training.data import examples
    from tests.backends.hf_trainer.fitting import llama

    base = tmp_path / "base"
    llama(vocab_size=VOCABULARY, max_position_embeddings=256).save_pretrained(base)
    letters().save_pretrained(base)
    shop = Continuous(tmp_path / "shop", model=f'[model]\nname_or_path = "{base}"')
    files = {
        "a.json": json.dumps(alpaca(9), indent=2).encode(),
        "b.jsonl.gz": gzip.compress("\n".join(map(json.dumps, sharegpt(7))).encode()),
    }
    for name, content in files.items():
        (shop.home / name).write_bytes(content)
        (shop.home / name).rename(shop.inbox / name)
    expected = {}
    for name in files:
        made = examples(LegData(str(shop.inbox / name)), letters(), VOCABULARY, str(tmp_path / "scratch"))
        expected[name] = sorted(made[index]["input_ids"] for index in range(len(made)))
    shop.dropped = {"a.json": alpaca(9), "b.jsonl.gz": sharegpt(7)}
    if killed:
        for step in (2, 4):  # in the middle of each file
            with shop.held(step) as held:
                held.process.kill()
    shop.call()

    shop.check()
    trained = shop.trained()
    found = {item["file"]: range(item["first_step"] + 1, item["step"] + 1) for item in shop.rows()}
    assert {name: sorted(row for step in steps for row in trained[step]) for name, steps in found.items()} == expected
    assert {name: (shop.home / "done" / name).read_bytes() for name in files} == files
