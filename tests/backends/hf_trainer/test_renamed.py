"""Whole models of which a resume would skip weights: refused before the first step, by the plan as by the training."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import audit
from audit import cli
from audit.errors import ConfigError
from audit.manager import load
from audit.training.config import read_train_config
from audit.training.loop import train
from audit.training.process import here
from tests.backends.hf_trainer.fitting import data_file, gpt2, libraries_hush, llama, lora, mixtral, rows
from tests.backends.hf_trainer.test_saved_names import vit

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

CONFIG = """
run = "run"
[data]
inbox = "inbox"
[model]
name_or_path = "base"
{more}
[arguments]
use_cpu = true
per_device_train_batch_size = 2
[watch]
settle-seconds = 0
"""
LORA = '[adapter]\nr = 4\ntarget_modules = ["q_proj"]'
OWN = """
import transformers

class Loads(transformers.Trainer):
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        loaded = type(self.model).from_pretrained(resume_from_checkpoint)
        self.model.load_state_dict(loaded.state_dict())

class Plain(transformers.Trainer):
    pass

class Model:
    from_pretrained = transformers.AutoModelForCausalLM.from_pretrained

def make(**given):
    raise AssertionError
"""


def neox(**fields: Any) -> Any:
    import transformers

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(vocab_size=96, **shape, **fields))


def bert() -> Any:
    import transformers

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=96, **shape))


MODELS: dict[str, tuple[Callable[[], Any], bool]] = {
    "Llama": (llama, False),
    "tied Llama": (lambda: llama(tie_word_embeddings=True), False),
    "GPT-2": (gpt2, False),
    "BERT": (bert, False),
    "tied GPT-NeoX": (lambda: neox(tie_word_embeddings=True), False),
    "GPT-NeoX": (neox, True),
    "Mixtral": (mixtral, True),
    "ViT": (lambda: vit(0), True),
    "adapter": (lora, False),
}


@pytest.mark.parametrize(("make", "skips"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("kept", [True, False], ids=["names of the base", "names in memory"])
def test_what_is_skipped_is_what_is_saved_under_another_name(
    tmp_path: Path, make: Callable[[], Any], skips: bool, kept: bool
) -> None:
    import safetensors

    from audit_hf_trainer.training.renamed import renamed

    def in_file(place: Path) -> set[str]:
        with safetensors.safe_open(next(place.glob("*.safetensors")), "pt") as file:
            return set(file.keys())

    with libraries_hush():
        model = make()
        assert (renamed(model) is not None) == skips
        model.save_pretrained(tmp_path / "base", save_original_format=kept)
        if not hasattr(model, "peft_config"):
            model = type(model).from_pretrained(tmp_path / "base")
        model.save_pretrained(tmp_path / "saved")
    others = in_file(tmp_path / "saved") - set(model.state_dict())

    found = renamed(model)

    assert (found is not None) == (skips and kept)
    if found is not None:
        assert found.first in others
        assert 0 < found.skipped < found.total == len(model.state_dict())
    elif not hasattr(model, "peft_config"):
        assert not others


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_loading", raising=False)
    (tmp_path / "own_loading.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "inbox").mkdir()
    data_file(str(tmp_path / "inbox" / "a.jsonl"), [row["input_ids"] for row in rows(4)])
    with libraries_hush():
        mixtral().save_pretrained(tmp_path / "base")
    return tmp_path


def configured(shop: Path, more: str = "") -> str:
    (shop / "train.toml").write_text(CONFIG.format(more=more), encoding="utf-8")
    return str(shop / "train.toml")


def trained(config: str) -> int:
    registry = load()
    found, trainer = read_train_config(config, registry)
    return train(found, trainer, registry, lambda event: None, run_leg=here)


def test_plan_and_training_refuse_before_the_first_step(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(shop)

    assert cli.run(["plan", config]) == 1
    shown = capsys.readouterr().out
    assert "refused: model: transformers " in shown
    assert "MixtralForCausalLM under other names" in shown
    assert "3 of 12 tensors" in shown
    assert "save_original_format=False" in shown

    with pytest.raises(ConfigError, match=r"^model: transformers .* and Trainer skips them") as caught:
        trained(config)
    assert f"refused: {caught.value}\n" in shown
    assert (shop / "inbox" / "a.jsonl").is_file()
    assert not list((shop / "run").glob("checkpoint-*"))


def test_a_copy_with_the_names_in_memory_is_trained_batch_after_batch(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import transformers

    shutil.rmtree(shop / "base")
    with libraries_hush():
        mixtral().save_pretrained(shop / "base", save_original_format=False)
    config = configured(shop)

    assert cli.run(["plan", config]) == 0
    assert capsys.readouterr().out.endswith("this would work\n")
    assert trained(config) == 0
    data_file(str(shop / "inbox" / "b.jsonl"), [row["input_ids"] for row in rows(6, seed=1)])
    assert trained(config) == 0

    assert audit.verify(str(shop / "run")).findings == ()
    with libraries_hush():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(shop / "run" / "checkpoint-5")
    start = mixtral().state_dict()
    assert not any(value.equal(start[name]) for name, value in loaded.state_dict().items() if "experts" in name)


@pytest.mark.parametrize(
    "more",
    [
        LORA,
        '[trainer]\nclass = "own_loading:Loads"',
    ],
    ids=["an adapter", "a trainer that loads itself"],
)
def test_what_loads_in_another_way_is_not_refused(shop: Path, capsys: pytest.CaptureFixture[str], more: str) -> None:
    assert cli.run(["plan", configured(shop, more)]) == 0
    assert "other names" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "more",
    ['[trainer]\nfactory = "own_loading:make"', 'class = "own_loading:Model"\n[trainer]\nclass = "own_loading:Plain"'],
    ids=["factory", "class"],
)
def test_where_code_of_the_configuration_may_see_to_it_the_plan_has_a_note(
    shop: Path, capsys: pytest.CaptureFixture[str], more: str
) -> None:
    assert cli.run(["plan", configured(shop, more)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "MixtralForCausalLM under other names" in shown
    assert "unless trainer.factory or model.class sees to it" in shown


def test_a_model_that_is_not_on_this_machine_is_a_note(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import audit_hf_trainer.training.renamed as module

    monkeypatch.setattr(module, "base_directory", lambda settings: None)

    assert cli.run(["plan", configured(shop)]) == 0
    assert "which could not be read yet" in " ".join(capsys.readouterr().out.split())


def test_the_class_of_the_model_is_the_one_that_is_tried(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(shop / "base")
    with libraries_hush():
        vit(0).save_pretrained(shop / "base")
    for kind in ("AutoModelForImageClassification", "ViTForImageClassification"):
        more = f'class = "transformers.{kind}"\n[trainer]\nclass = "transformers.Trainer"'
        assert cli.run(["plan", configured(shop, more)]) == 1
        assert "saves ViTForImageClassification under other names" in capsys.readouterr().out

    more = 'class = "transformers.NoSuchModel"\n[trainer]\nclass = "transformers.Trainer"'
    assert cli.run(["plan", configured(shop, more)]) == 1
    assert "refused: model.class: transformers has no NoSuchModel" in capsys.readouterr().out


def test_a_trainer_is_refused_unless_it_loads_itself(tmp_path: Path) -> None:
    import transformers

    from audit_hf_trainer.training.renamed import refuse_renamed

    class Loads(transformers.Trainer):
        def _load_from_checkpoint(self, *unused: Any) -> None:
            pass

    arguments = transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    refuse_renamed(Loads(mixtral(), arguments))
    refuse_renamed(transformers.Trainer(llama(), arguments))
    refuse_renamed(transformers.Trainer(lora(), arguments))
    with pytest.raises(ConfigError, match="MixtralForCausalLM"):
        refuse_renamed(transformers.Trainer(mixtral(), arguments))
