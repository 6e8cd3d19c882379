"""What `audit plan` knows of the examples that a trainer of trl makes: as much as the training, before it."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from audit import cli
from audit.errors import ConfigError
from audit.manager import load
from audit.training.config import read_train_config
from audit.training.loop import train
from audit.training.process import here
from tests.backends.hf_trainer.fitting import libraries_hush, llama
from tests.backends.hf_trainer.letters import VOCABULARY, letters

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytest.importorskip("trl", reason="the extra trl is not installed")

CONFIG = """
run = "run"
[data]
inbox = "inbox"
{data}
[model]
name_or_path = "base"
{model}
{adapter}
[trainer]
class = "trl.{kind}"
[arguments]
use_cpu = true
bf16 = false
per_device_train_batch_size = 2
{arguments}
[watch]
settle-seconds = 0
"""
LORA = '[adapter]\nr = 4\ntarget_modules = ["q_proj"]'
TEXT = {"text": "the end"}
LONG = {"text": "a" * 40}
CHAT = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
PAIR = {"prompt": "q ", "chosen": "yes", "rejected": "no"}
REWARD = 'class = "transformers.AutoModelForSequenceClassification"\noptions = {num_labels = 1}'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    with libraries_hush():
        llama(vocab_size=VOCABULARY).save_pretrained(tmp_path / "base")
        letters(template=None).save_pretrained(tmp_path / "base")
    return tmp_path


def configured(shop: Path, rows: list[Any], kind: str = "SFTTrainer", **parts: str) -> str:
    (shop / "inbox" / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    fields = {"data": "", "arguments": "", "model": "", "adapter": LORA, **parts}
    (shop / "train.toml").write_text(CONFIG.format(kind=kind, **fields), encoding="utf-8")
    return str(shop / "train.toml")


def planned(config: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.run(["plan", config])
    return code, capsys.readouterr().out


def trained(config: str) -> str:
    """What the training refuses, "" if it trains all of it."""
    registry = load()
    found, trainer = read_train_config(config, registry)
    try:
        assert train(found, trainer, registry, lambda event: None, run_leg=here) == 0
    except ConfigError as error:
        return str(error)
    return ""


SOUND: dict[str, tuple[list[Any], str, dict[str, str]]] = {
    "text": ([TEXT, LONG, TEXT], "SFTTrainer", {}),
    "a whole model": ([TEXT, TEXT], "SFTTrainer", {"adapter": ""}),
    "preferences": ([PAIR, PAIR, PAIR], "DPOTrainer", {}),
    "rewards, by an option of the model": ([PAIR, PAIR], "RewardTrainer", {"adapter": "", "model": REWARD}),
    "preferences, a whole model": ([PAIR, PAIR], "DPOTrainer", {"adapter": ""}),
}


def test_an_adapter_for_another_task_is_refused_with_its_key(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = planned(configured(shop, [PAIR, PAIR], "RewardTrainer", model=REWARD), capsys)

    assert code == 1
    assert "refused: adapter: PEFT refuses it: 'LlamaForSequenceClassification' object has no attribute" in shown


@pytest.mark.parametrize(("rows", "kind", "parts"), SOUND.values(), ids=SOUND)
def test_rows_that_trl_takes_are_tried_without_a_note(
    shop: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Any],
    kind: str,
    parts: dict[str, str],
) -> None:
    (shop / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shop / "scratch"))

    code, shown = planned(configured(shop, rows, kind, **parts), capsys)

    assert code == 0, shown
    assert "not tokenized" not in shown
    assert not (shop / "run").exists()
    assert os.listdir(shop / "scratch") == []


REFUSED: dict[str, tuple[list[Any], str, dict[str, str], str]] = {
    "no chat template": ([CHAT], "SFTTrainer", {}, "trainer.class: trl.SFTTrainer refuses them: "),
    "not chat": (
        [TEXT],
        "SFTTrainer",
        {"arguments": "assistant_only_loss = true"},
        "trainer.class: trl.SFTTrainer refuses them: You set `assistant_only_loss=True`",
    ),
    "no end": (
        [TEXT],
        "SFTTrainer",
        {"arguments": 'eos_token = "<none>"'},
        "trainer.class: trl.SFTTrainer refuses them: The specified `eos_token`",
    ),
}


@pytest.mark.parametrize(("rows", "kind", "parts", "said"), REFUSED.values(), ids=REFUSED)
def test_what_trl_refuses_in_the_training_the_plan_refuses_in_the_same_words(
    shop: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], kind: str, parts: dict[str, str], said: str
) -> None:
    config = configured(shop, rows, kind, **parts)

    code, shown = planned(config, capsys)

    refusal = trained(config)
    assert refusal.startswith(said)
    assert code == 1
    assert f"refused: {refusal} (a.jsonl)\n" in shown


def test_rows_that_nobody_prepares_are_refused(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip = "dataset_kwargs = {skip_prepare_dataset = true}"
    code, text = planned(configured(shop, [TEXT] * 2, arguments=skip), capsys)
    assert code == 1
    assert "refused: arguments.dataset_kwargs: skip_prepare_dataset is for rows of input_ids" in text
    code, text = planned(configured(shop, [{"input_ids": [1, 2]}] * 2, arguments=skip), capsys)
    assert code == 0, text


def test_rows_that_are_dropped_are_refused_but_not_of_the_held_out_file(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    import trl

    def shorter(self: Any, dataset: Any, *unused: Any, **more: Any) -> Any:
        kept = dataset.filter(lambda row: len(row["text"]) < 20)
        return kept.map(lambda row: {"input_ids": [1] * len(row["text"])}, remove_columns="text")

    monkeypatch.setattr(trl.SFTTrainer, "_prepare_dataset", shorter)
    held = shop / "eval.jsonl"
    held.write_text(f"{json.dumps(TEXT)}\n{json.dumps(LONG)}\n", encoding="utf-8")

    code, shown = planned(configured(shop, [TEXT, LONG]), capsys)
    assert code == 1
    assert "refused: trainer.class: makes 1 examples of 2, so not each would be trained once" in shown

    evaluated = {"data": 'eval = "eval.jsonl"', "arguments": 'eval_strategy = "steps"\neval_steps = 1'}
    code, shown = planned(configured(shop, [TEXT, TEXT], **evaluated), capsys)
    assert code == 0, shown


@pytest.mark.parametrize(("largest", "code"), [(VOCABULARY - 1, 0), (VOCABULARY, 1)])
def test_an_id_without_an_embedding_is_refused(
    shop: Path, capsys: pytest.CaptureFixture[str], largest: int, code: int
) -> None:
    found, shown = planned(configured(shop, [{"input_ids": [1, largest, 2], "labels": [1, largest, 2]}] * 2), capsys)

    assert found == code, shown
    said = f"trainer.class: makes examples with the id {VOCABULARY}; the model's vocabulary has {VOCABULARY}, from 0"
    assert (said in shown) == bool(code)


UNKNOWN: dict[str, tuple[Any, str]] = {
    "later": (None, "trl.SFTTrainer does that as it trains"),
    "weights": (
        NotImplementedError("Cannot copy out of meta tensor; no data!"),
        "trl.SFTTrainer needs the weights of the model for that",
    ),
    "a crash": (RuntimeError("boom"), "RuntimeError: boom"),
}


@pytest.mark.parametrize(("error", "said"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_tried_is_a_note(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Any, said: str
) -> None:
    import trl

    def prepare(self: Any, dataset: Any, *unused: Any, **more: Any) -> Any:
        if error is not None:
            raise error
        return dataset

    monkeypatch.setattr(trl.SFTTrainer, "_prepare_dataset", prepare)

    code, shown = planned(configured(shop, [TEXT]), capsys)

    assert code == 0
    assert f"note: the rows were read, but not tokenized: {said}\n" in shown


def test_a_model_that_is_not_built_is_a_note_and_the_rows_are_still_read(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import audit_hf_trainer.training.trl_rows as module

    def fails(*unused: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(module, "empty_model", fails)

    code, shown = planned(configured(shop, [TEXT]), capsys)
    assert (code, "not tokenized: the model was not built: RuntimeError: boom\n" in shown) == (0, True)
    code, shown = planned(configured(shop, [{"instruction": "a", "output": "b"}]), capsys)
    assert (code, "a trainer of your own takes no alpaca" in shown) == (1, True)
