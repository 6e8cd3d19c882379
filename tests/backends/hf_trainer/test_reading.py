"""What audit data shows of a row is what a leg trains on."""

import json
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegData
from audit.data.rows import checked_rows
from tests.backends.hf_trainer.letters import VOCABULARY, letters

pytest.importorskip("datasets", reason="the extra hf is not installed")
pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from audit_hf_trainer.training.data import examples
from audit_hf_trainer.training.reading import reader

ROWS: list[list[dict[str, Any]]] = [
    [{"text": "the end"}, {"text": "a" * 99}],
    [{"instruction": "the", "input": "he", "output": "4"}, {"instruction": "a", "output": "b" * 99}],
    [{"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}],
    [{"prompt": "2+2=", "completion": "4"}],
    [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": list(range(90))}],
]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("loss_on", ["all", None])
def test_it_is_what_a_leg_trains(rows: list[dict[str, Any]], loss_on: str | None, tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=64).save_pretrained(tmp_path)
    tokenizer = letters()
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = LegData(str(path), options={"loss_on": loss_on})
    trained = examples(data, tokenizer, VOCABULARY, str(tmp_path / "scratch"), 64)

    read = reader(data, {"model": {"name_or_path": str(tmp_path)}})
    shown = [read(number, row, found) for number, row, found in checked_rows(str(path))]

    assert [item.length for item in shown] == [len(trained[place]["input_ids"]) for place in range(len(rows))]
    assert [item.learned for item in shown] == [
        sum(label != -100 for label in trained[place]["labels"][1:]) for place in range(len(rows))
    ]
    assert sum(item.cut for item in shown) == trained.cut
    for item, place in zip(shown, range(len(rows)), strict=True):
        assert "".join(text for text, _ in item.pieces()) == tokenizer.decode(trained[place]["input_ids"])
        text = tokenizer.decode([label for label in trained[place]["labels"] if label != -100])
        assert "".join(text for text, is_trained in item.pieces() if is_trained) == text
