"""`audit plan` refuses what `audit train` would fail on: both are asked about each configuration."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from audit import cli
from audit.errors import ConfigError
from audit.manager import load
from audit.training.config import read_train_config
from audit.training.loop import train
from audit.training.process import here
from tests.backends.hf_trainer.fitting import data_file, llama, rows
from tests.backends.hf_trainer.letters import VOCABULARY, letters

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

CONFIG = """
run = "run"
[data]
inbox = "inbox"
[model{model}
[adapter]
{adapter}
[arguments]
per_device_train_batch_size = 2
save_steps = 3
{arguments}
[watch]
settle-seconds = 0
"""
RANDOM = ".random]\nvocab_size = 96"
LORA = 'r = 4\ntarget_modules = ["q_proj"]'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    data_file(str(tmp_path / "inbox" / "a.jsonl"), [row["input_ids"] for row in rows(4)])
    return tmp_path


def both(
    shop: Path, capsys: pytest.CaptureFixture[str], model: str = RANDOM, adapter: str = LORA, arguments: str = ""
) -> tuple[int, str, int]:
    """The exit code of the plan, all that it said, and the exit code of the training."""
    config = shop / "train.toml"
    config.write_text(CONFIG.format(model=model, adapter=adapter, arguments=arguments), encoding="utf-8")
    capsys.readouterr()
    code = cli.run(["plan", str(config)])
    shown = capsys.readouterr()
    assert not (shop / "run").exists(), "a plan makes nothing"
    return code, shown.out + shown.err, cli.run(["train", str(config), "-q"])


REFUSED = {
    "no path": ({"model": ']\nname_or_path = "./none"'}, "model.name_or_path: cannot be loaded"),
    "no model": ({"model": ']\nname_or_path = "org/none"'}, "model.name_or_path: cannot be loaded"),
    "no weights": ({"model": ']\nname_or_path = "empty"'}, "model.name_or_path: "),
    "modules": ({"adapter": 'target_modules = ["no_such_module"]'}, "adapter: PEFT refuses it: Target modules"),
    "rank": ({"adapter": "r = 0"}, "adapter: PEFT refuses it: "),
    "optimizer": ({"arguments": 'optim = "adamw_torch_8bit"\noptim_args = "betas=7"'}, "arguments"),
    "betas": ({"arguments": "adam_beta1 = 1.5"}, "arguments: AdamW refuses them: Invalid beta"),
    "both precisions": ({"arguments": "bf16 = true\nfp16 = true"}, "Trainer refuses the training arguments: "),
}
FAST = ("no path", "modules", "betas")
"""Those that are not slow: each loads the libraries in a process of its own."""


@pytest.mark.parametrize(
    ("parts", "said"),
    [pytest.param(*case, id=name, marks=[] if name in FAST else pytest.mark.slow) for name, case in REFUSED.items()],
)
def test_what_cannot_be_built_is_refused_with_its_key(
    shop: Path, capsys: pytest.CaptureFixture[str], parts: dict[str, str], said: str
) -> None:
    llama().config.save_pretrained(shop / "empty")

    planned, text, trained = both(shop, capsys, **parts)

    assert planned == 1, text
    assert f"refused: {said}" in text
    assert "this would not work" in text
    assert trained == 2


def test_what_can_be_built_works(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llama().save_pretrained(shop / "base")

    planned, text, trained = both(shop, capsys, model=']\nname_or_path = "base"')

    assert (planned, trained) == (0, 0), text
    assert text.endswith("this would work\n")
    shutil.rmtree(shop / "base")
    (shop / "done" / "a.jsonl").rename(shop / "inbox" / "b.jsonl")
    assert cli.run(["plan", str(shop / "train.toml")]) == 1


def test_fsdp_is_planned_for_as_many_processes_as_there_will_be(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = shop / "train.toml"
    config.write_text(CONFIG.format(model=RANDOM, adapter=LORA, arguments='fsdp = true\nddp_backend = "gloo"'))

    assert cli.run(["plan", str(config)]) == 1
    assert "refused: arguments.ddp_backend: is for several processes, and one trains" in capsys.readouterr().out
    assert cli.run(["plan", str(config), "--processes", "2"]) == 0

    (shop / "inbox" / "a.jsonl").unlink()  # no file waits: the configuration alone is tried
    assert cli.run(["plan", str(config)]) == 1
    assert cli.run(["plan", str(config), "--processes", "2"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_may_be_started_anew(shop: Path, capsys: pytest.CaptureFixture[str], context: str) -> None:
    arguments = f'dataloader_num_workers = 1\ndataloader_multiprocessing_context = "{context}"'

    planned, text, trained = both(shop, capsys, arguments=arguments)

    assert (planned, trained) == (0, 0), text


CHAT = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
BASE = ']\nname_or_path = "base"'
ROWS: dict[str, tuple[str, list[Any], str]] = {
    "no tokenizer": (RANDOM, [CHAT], "refused: data.format: rows of the format messages need a tokenizer"),
    "no chat template": (BASE, [CHAT], "refused: data.format: messages need a chat template"),
    "beyond the vocabulary": (RANDOM, [{"input_ids": [1, 2]}, {"input_ids": [96, 1]}], "row 2: has the id 96"),
    "one token": (BASE, [{"text": "the end"}, {"input_ids": [1]}], "a.jsonl would be set aside"),
    "a row of nothing": (BASE, [{"input_ids": [1, 2]}, {"input_ids": [1]}], "row 2: makes 1 token"),
    "too long a limit": (
        RANDOM + "\nmax_position_embeddings = 8",
        [{"input_ids": [1, 2]}],
        "data.max_length: 9 is more",
    ),
    "sound": (BASE, [{"text": "the end"}, {"text": "a" * 20}], "this would work"),
}


CONFIGURED = ("refused: ", "data.max_length: ")
"""How it begins where the configuration does not go with the rows, and the file is left where it is."""


@pytest.mark.parametrize(("model", "content", "said"), ROWS.values(), ids=ROWS)
def test_rows_are_judged_as_the_training_judges_them(
    shop: Path, capsys: pytest.CaptureFixture[str], model: str, content: list[Any], said: str
) -> None:
    llama(vocab_size=VOCABULARY).save_pretrained(shop / "base")
    letters(template=None).save_pretrained(shop / "base")
    (shop / "inbox" / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in content), encoding="utf-8")
    config = shop / "train.toml"
    text = CONFIG.format(model=model, adapter=LORA, arguments="")
    config.write_text(text.replace("[data]", "[data]\nmax_length = 9") if "max_length" in said else text)

    code = cli.run(["plan", str(config)])

    shown = capsys.readouterr().out
    assert said in shown
    registry = load()
    found, trainer = read_train_config(str(config), registry)
    try:
        trained = train(found, trainer, registry, lambda event: None, run_leg=here)
    except ConfigError as error:
        assert f"refused: {error}" in shown  # noqa: PT017  the plan has said it in the same words
        trained = 2
    expected = (0, 0) if said == "this would work" else (1, 2 if said.startswith(CONFIGURED) else 1)
    assert (code, trained) == expected


def test_what_a_trainer_of_the_configuration_makes_of_rows_is_not_claimed(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "mine.py").write_text("def make(**given):\n    raise AssertionError\n", encoding="utf-8")
    config = shop / "train.toml"
    text = CONFIG.format(model=RANDOM, adapter=LORA, arguments="") + '[trainer]\nfactory = "mine:make"\n'
    config.write_text(text, encoding="utf-8")

    assert cli.run(["plan", str(config)]) == 0
    assert "note: the rows were read, but not tokenized" in capsys.readouterr().out

    (shop / "inbox" / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    assert cli.run(["plan", str(config)]) == 1
    assert "a trainer of your own takes no alpaca" in capsys.readouterr().out


INVOKED = 'r = 4\ntarget_modules = ["q_proj"]\nalora_invocation_tokens = [5, 6]'
ALORA: dict[str, tuple[list[list[int]], str, int]] = {
    "none": (
        [[1, 2, 5, 7, 6]] * 2,
        "refused: adapter.alora_invocation_tokens: no row has them, so the adapter adds",
        2,
    ),
    "one": ([[1, 2, 5, 7, 6], [5, 6, 7]], "this would work", 0),
    "none of many": ([[1, 2, 5, 7, 6]] * 100, "note: adapter.alora_invocation_tokens: none of the 100 rows", 2),
}


@pytest.mark.parametrize(("ids", "said", "expected"), ALORA.values(), ids=ALORA)
def test_some_row_has_the_tokens_that_the_adapter_is_invoked_by(
    shop: Path, capsys: pytest.CaptureFixture[str], ids: list[list[int]], said: str, expected: int
) -> None:
    (shop / "inbox" / "a.jsonl").write_text("".join(f'{{"input_ids": {row}}}\n' for row in ids), encoding="utf-8")

    planned, text, trained = both(shop, capsys, adapter=INVOKED, arguments="gradient_accumulation_steps = 50")

    assert said in text
    assert (planned, trained) == (int(said.startswith("refused")), expected)
    assert (shop / ("inbox" if expected else "done") / "a.jsonl").exists()
