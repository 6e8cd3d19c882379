"""`audit plan` refuses what `audit train` would fail on: both are asked about each configuration."""

import shutil
from pathlib import Path

import pytest

from audit import cli
from tests.backends.hf_trainer.fitting import data_file, llama, rows

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
    assert trained != 0


def test_what_can_be_built_works(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llama().save_pretrained(shop / "base")

    planned, text, trained = both(shop, capsys, model=']\nname_or_path = "base"')

    assert (planned, trained) == (0, 0), text
    assert text.endswith("this would work\n")
    shutil.rmtree(shop / "base")
    (shop / "done" / "a.jsonl").rename(shop / "inbox" / "b.jsonl")
    assert cli.run(["plan", str(shop / "train.toml")]) == 1
