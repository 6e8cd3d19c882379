"""What `audit plan` computes, against the real Trainer."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from audit import cli
from audit.backend.training import Note
from audit.manager import load
from audit.training.config import read_train_config
from audit.training.events import Event
from audit.training.loop import train
from audit.training.process import here
from audit_rules.plan._resume import steps_of_resume
from tests.backends.hf_trainer.fitting import data_file, fit, llama, rows

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")


class Case(NamedTuple):
    """Rows of the new file, batch, accumulation, steps done before; then the arguments of the resume."""

    rows: int
    batch: int
    accumulation: int
    done: int
    epochs: float
    max_steps: int
    ignore_data_skip: bool


KNOWN = [
    Case(16, 4, 1, 4, 1, -1, False),  # one epoch of a second file of the same size
    Case(26, 4, 2, 3, 1, -1, False),  # a larger one: its beginning is skipped
    Case(16, 4, 1, 6, 3, 5, False),  # the end lies behind: one step more
    Case(16, 4, 1, 5, 2.5, -1, True),
]


def cases(count: int) -> list[Case]:
    chance = random.Random(7)
    return [
        Case(
            chance.randint(1, 40),
            chance.randint(1, 5),
            chance.randint(1, 3),
            chance.randint(0, 14),
            chance.choice((1, 2, 3, 1.5)),
            chance.choice((-1, -1, chance.randint(1, 25))),
            chance.random() < 0.4,
        )
        for _ in range(count)
    ]


def checkpoint_of(home: Path, step: int) -> str | None:
    """A checkpoint of exactly ``step`` steps, None for 0."""
    if not step:
        return None
    trainer = made(home / "before", rows(8), per_device_train_batch_size=4, max_steps=step, save_steps=step)
    trainer.train()
    return str(home / "before" / f"checkpoint-{step}")


def made(run: Path, examples: Any, **arguments: Any) -> Any:
    import transformers

    fixed = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
    chosen = transformers.TrainingArguments(output_dir=str(run), **{**fixed, **arguments})
    trainer = transformers.Trainer(llama(num_hidden_layers=1), chosen, train_dataset=examples)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def trained(home: Path, case: Case) -> int:
    import transformers

    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        resume = checkpoint_of(home, case.done)
        trainer = made(
            home / "run",
            rows(case.rows, seed=1),
            per_device_train_batch_size=case.batch,
            gradient_accumulation_steps=case.accumulation,
            num_train_epochs=case.epochs,
            max_steps=case.max_steps,
            ignore_data_skip=case.ignore_data_skip,
            save_strategy="no",
        )
        trainer.train(resume_from_checkpoint=resume)
        return int(trainer.state.global_step) - case.done
    finally:
        transformers.utils.logging.set_verbosity(verbosity)


def expected(case: Case) -> int:
    batches = -(-case.rows // case.batch)
    return steps_of_resume(
        max(1, -(-batches // case.accumulation)),
        case.done,
        max_steps=max(0, case.max_steps),
        epochs=case.epochs,
    )


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_the_closed_form_is_what_a_resume_trains(tmp_path: Path, case: Case) -> None:
    assert trained(tmp_path, case) == expected(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(60), ids=str)
def test_the_closed_form_is_what_a_resume_trains_at_random(tmp_path: Path, case: Case) -> None:
    assert trained(tmp_path, case) == expected(case)


CONFIG = """
run = "run"
[data]
inbox = "inbox"
epochs = 2
[model.random]
vocab_size = 96
hidden_size = 64
intermediate_size = 128
{adapter}
[arguments]
per_device_train_batch_size = 2
gradient_accumulation_steps = 2
learning_rate = 0.01
save_steps = 3
[watch]
settle-seconds = 0
"""
LORA = '[adapter]\nr = 8\ntarget_modules = ["q_proj", "v_proj"]'


def planned(config: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    cli.run(["plan", config, "--format", "json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def train_here(config: str, tell: Callable[[Event], None] = lambda event: None) -> int:
    """Train without a process for each leg: a second instead of ten."""
    registry = load()
    found, trainer = read_train_config(config, registry)
    return train(found, trainer, registry, tell, run_leg=here)


@pytest.mark.parametrize("adapter", [LORA, ""], ids=["LoRA", "full"])
def test_steps_checkpoints_and_their_size_are_those_of_the_training(
    tmp_path: Path, adapter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inbox").mkdir()
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.format(adapter=adapter), encoding="utf-8")
    for name, count in (("a.jsonl", 9), ("b.jsonl", 5)):
        data_file(str(tmp_path / "inbox" / name), [row["input_ids"] for row in rows(count, seed=count)])

    found = planned(str(config), capsys)

    assert found["works"]
    assert [(item["first_step"], item["last_step"], item["checkpoints"]) for item in found["files"]] == [
        (1, 5, 2),
        (6, 8, 2),
    ]
    assert train_here(str(config)) == 0
    run = tmp_path / "run"
    assert sorted(path.name for path in run.glob("checkpoint-*")) == [f"checkpoint-{step}" for step in (3, 5, 6, 8)]
    taken = sum(path.stat().st_size for path in (run / "checkpoint-3").iterdir())
    assert taken <= found["disk"]["checkpoint_bytes"] <= taken + 60_000
    assert found["disk"]["checkpoint_source"] == "estimated from the model"
    assert len(os.listdir(run / "checkpoint-3")) <= found["disk"]["needed_inodes"] / 4

    assert planned(str(config), capsys)["disk"] is None  # nothing waits
    data_file(str(tmp_path / "inbox" / "c.jsonl"), [row["input_ids"] for row in rows(4, seed=3)])
    again = planned(str(config), capsys)
    assert again["findings"] == []
    assert again["disk"]["checkpoint_source"] == "as large as the newest one"
    # all that could be compared was: nothing of the family had to be left out for want of facts
    judged = {item["rule"] for item in again["outcomes"] if item["outcome"] == "pass"}
    assert judged == {
        "plan/adapter-changed", "plan/base-changed", "plan/batch-size", "plan/disk", "plan/ignored-resume",
        "plan/optimizer-changed", "plan/schedule-moves", "plan/setting-ignored", "plan/world-size",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 0.5, "weight_decay": 0.9}, {"adam_beta1": 0.1, "adam_beta2": 0.5, "adam_epsilon": 0.1}],
)
def test_a_resume_ignores_what_the_rule_says_that_it_ignores(tmp_path: Path, changes: dict[str, Any]) -> None:
    made = []
    for name, over in (("same", {}), ("changed", changes)):
        run = str(tmp_path / name)
        fit(run, llama(), max_steps=3, lr_scheduler_type="constant")
        fit(run, llama(), max_steps=6, lr_scheduler_type="constant", resume=True, **over)
        made.append((tmp_path / name / "checkpoint-6" / "model.safetensors").read_bytes())
    assert made[0] == made[1]


def test_a_resume_with_another_optimizer_fails(tmp_path: Path) -> None:
    fit(str(tmp_path), llama(), max_steps=3)
    with pytest.raises(KeyError):
        fit(str(tmp_path), llama(), max_steps=6, resume=True, optim="sgd")


def test_a_base_model_that_is_replaced_in_its_place_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    (tmp_path / "inbox").mkdir()
    config, base = tmp_path / "train.toml", tmp_path / "base"
    model = llama()
    model.save_pretrained(base)
    text = CONFIG.format(adapter=LORA)
    before, _, after = text.partition("[model.random]")
    rest = after[after.index("[") :]
    config.write_text(f'{before}[model]\nname_or_path = "{base}"\n{rest}', encoding="utf-8")
    data_file(str(tmp_path / "inbox" / "a.jsonl"), [row["input_ids"] for row in rows(4)])
    assert train_here(str(config)) == 0
    data_file(str(tmp_path / "inbox" / "b.jsonl"), [row["input_ids"] for row in rows(6)])
    assert planned(str(config), capsys)["findings"] == []

    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    model.save_pretrained(base)
    for command in (["plan"], ["guard", str(tmp_path / "run"), "--config"], ["train"]):
        capsys.readouterr()
        assert cli.run([*command, str(config)]) == 1
        shown = capsys.readouterr()
        assert "other weights in the same tensors" in shown.out + shown.err


def test_a_changed_plan_is_refused_by_all_three_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inbox").mkdir()
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.format(adapter=LORA), encoding="utf-8")
    data_file(str(tmp_path / "inbox" / "a.jsonl"), [row["input_ids"] for row in rows(4)])
    assert train_here(str(config)) == 0
    data_file(str(tmp_path / "inbox" / "b.jsonl"), [row["input_ids"] for row in rows(6)])
    changed = CONFIG.format(adapter=LORA.replace("r = 8", "r = 4")).replace("run = ", "seed = 9\nrun = ")
    config.write_text(changed.replace("learning_rate", 'lr_scheduler_type = "cosine"\nlearning_rate'), encoding="utf-8")
    with config.open("a", encoding="utf-8") as file:
        file.write("[schedule]\ntotal_steps = 20\n")
    wrong = {"plan/adapter-changed", "plan/base-changed", "plan/schedule-moves"}

    found = planned(str(config), capsys)
    assert {item["rule"] for item in found["findings"]} == wrong
    assert not found["works"]
    for command in (["guard", str(tmp_path / "run"), "--config"], ["train"]):
        capsys.readouterr()
        assert cli.run([*command, str(config)]) == 1
        shown = capsys.readouterr()
        assert all(rule in shown.err for rule in wrong), shown
        assert (tmp_path / "inbox/b.jsonl").is_file()


def _with_base(config: Path, name: str) -> None:
    before, _, after = CONFIG.format(adapter=LORA).partition("[model.random]")
    rest = after[after.index("[") :]
    config.write_text(f'{before}[model]\nname_or_path = "{name}"\n{rest}', encoding="utf-8")


def test_the_base_model_is_the_one_beside_the_configuration_wherever_the_command_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "inbox").mkdir(parents=True)
    elsewhere.mkdir()
    llama().save_pretrained(home / "base")
    llama().save_pretrained(elsewhere / "base")
    monkeypatch.chdir(elsewhere)
    _with_base(home / "train.toml", "base")
    data_file(str(home / "inbox" / "a.jsonl"), [row["input_ids"] for row in rows(4)])

    assert planned(str(home / "train.toml"), capsys)["base_model"] == str(home / "base")
    events: list[Event] = []
    assert train_here(str(home / "train.toml"), events.append) == 0

    assert Note(f"base model: {home / 'base'}") in events
    config = json.loads((home / "run" / "checkpoint-2" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == str(home / "base")
    shutil.move(home, tmp_path / "moved")
    data_file(str(tmp_path / "moved" / "inbox" / "b.jsonl"), [row["input_ids"] for row in rows(6)])
    assert planned(str(tmp_path / "moved" / "train.toml"), capsys)["findings"] == []


def test_a_base_model_that_is_only_in_the_working_directory_is_refused_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    _with_base(tmp_path / "home" / "train.toml", "base")

    assert cli.run(["plan", "home/train.toml"]) == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "model.name_or_path: base is in the working directory" in said
    assert f"write {tmp_path / 'base'}" in said


def test_a_name_on_the_hub_stays_a_name(tmp_path: Path) -> None:
    _with_base(tmp_path / "train.toml", "org/base")

    assert read_train_config(str(tmp_path / "train.toml"), load())[0].settings["model"]["name_or_path"] == "org/base"


def test_the_files_that_arguments_name_are_beside_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.format(adapter=LORA).replace("[arguments]", '[arguments]\ndeepspeed = "ds.json"'))

    assert read_train_config(str(config), load())[0].settings["arguments"]["deepspeed"] == str(tmp_path / "ds.json")
