"""docs/train.md and the section on training in README.md keep up with the program."""

import argparse
import configparser
import contextlib
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.cli import train as command
from audit.manager import load
from audit.training.config import read_train_config
from audit.training.events import NAMES, as_json
from audit.training.run_state import TrainRefused
from audit.training.session import Session
from audit.training.watching import Watcher
from audit_hf_trainer.settings import MODEL
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import POISON, Kill

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8").partition("## Agreed for later")[0]


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of its tables, without heads."""
    found = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in found if cells[0].startswith("`")]


def keys_of(schema: dict[str, Any]) -> set[str]:
    found = set()
    for name, part in schema["properties"].items():
        inside = part.get("properties")
        found |= {f"{name}.{key}" for key in inside} if inside else {name}
    return found


def test_the_table_of_keys_is_that_of_the_schema() -> None:
    schema = json.loads((ROOT / "audit" / "schemas" / "train.json").read_text())
    documented = {cells[0].strip("`") for cells in rows(section("All keys"))}
    model = {f"model.{key}" for key in MODEL["properties"]}
    assert documented == keys_of(schema) | model


def test_the_defaults_in_the_table_are_those_of_the_program(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    (tmp_path / "train.toml").write_text('run = "run"\n[data]\ninbox = "inbox"\n[model.random]\n')
    config, _ = read_train_config(str(tmp_path / "train.toml"), load())
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(section("All keys")) if len(cells) == 3}
    assert told["backend"] == f'"{config.backend}"'
    assert told["seed"] == str(config.seed)
    assert told["data.after"] == f'"{config.data.after}"'
    assert told["data.epochs"] == str(config.data.epochs)
    assert told["data.shuffle"] == str(config.data.shuffle).lower()
    assert json.loads(told["data.pattern"]) == list(config.data.patterns)
    assert float(told["watch.settle-seconds"]) == config.watch.settle_seconds
    assert {told["guard.strict"], told["guard.exact"]} == {str(config.guard.strict).lower()}
    for key, value in (("done", config.data.done), ("rejected", config.data.rejected)):
        assert told[f"data.{key}"] == f"{key}` beside the inbox"
        assert value == str(tmp_path / key)


@pytest.mark.parametrize("text", re.findall(r"^```toml(?: \S+)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_every_configuration_on_the_page_is_accepted(text: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    if "trl." in text:
        pytest.importorskip("trl", reason="the extra trl is not installed")
    if "run =" not in text:
        text = f'run = "run"\n[data]\ninbox = "inbox"\n[model.random]\n{text}'
    (tmp_path / "train.toml").write_text(text)
    assert read_train_config(str(tmp_path / "train.toml"), load())


def test_every_option_stands_in_the_contract_and_no_other() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    command.configure(parser)
    options = {action.option_strings[-1] for action in parser._actions if action.option_strings}
    table = CONTRACT.partition("| option of `train` |")[2].partition("\n\n")[0]
    shorts = {"-q": "--quiet", "-v": "--verbose"}
    found = {name for cells in rows(table) for name in re.findall(r"`(-[-a-z]+)", cells[0])}
    assert {shorts.get(name, name) for name in found} == options


def test_the_unit_stops_the_daemon_as_it_wants_to_be_stopped() -> None:
    (text,) = re.findall(r"^```ini \S+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["KillMode"] == "mixed"
    assert service["SuccessExitStatus"].split() == [str(128 + number) for number in (signal.SIGINT, signal.SIGTERM)]
    words = service["ExecStart"].split()[1:]
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert words[0] == "train"
    assert parser.parse_args(words[1:]).watch


# -- Events -----------------------------------------------------------------------------------------------------------


def documented() -> dict[str, set[str]]:
    found = {}
    for cells in rows(section("Events as JSON")):
        for event in re.findall(r"`([a-z-]+)`", cells[0]):
            found[event] = set(re.findall(r"`([a-z_]+)`", cells[1]))
    return found


def test_every_event_is_in_the_table() -> None:
    assert set(documented()) == set(NAMES.values())


def test_every_event_has_the_fields_of_the_table(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles", reason="the extra watch is not installed")
    seen: list[Any] = []

    def shop(name: str, **parts: Any) -> Shop:
        return Shop(tmp_path / name, **parts)

    def train(here: Shop, **options: Any) -> None:
        with contextlib.suppress(TrainRefused, Kill):
            here.train(**options)
        seen.extend(here.events)

    one = shop("one", more='snapshots = "snapshots"')
    one.drop("a.jsonl", [1, 2, 3])
    one.drop("b.jsonl", [1, POISON])
    train(one)
    one.drop("again.jsonl", [1, 2, 3])
    train(one)
    (one.run / "checkpoint-2" / "optimizer.pt").unlink()  # its pin is whole
    train(one)
    config, trainer = read_train_config(str(one.home / "train.toml"), one.registry)
    Watcher(Session(config, trainer, one.registry, lambda event: seen.append(as_json(event)))).daily_snapshot()

    two = shop("two", toy="save_steps = 2")
    two.drop("a.jsonl", list(range(8)))
    two.backend.stop_after = 2
    train(two)
    two.backend.stop_after = None
    two.backend.tick = killing("saving 4")
    train(two)
    train(two)
    for step in (2, 4):
        (two.run / f"checkpoint-{step}" / "scheduler.pt").unlink()
    shutil.rmtree(two.run / ".audit" / "pinned")
    two.drop("b.jsonl", [20])
    train(two)

    three = shop("three", toy='fail = "it burns"')
    three.drop("a.jsonl", [1])
    train(three)

    table = documented()
    assert {"batch", "step", "finished", "retired", "rejected", "duplicate", "put-back", "snapshot", "stopped"} <= {
        event["event"] for event in seen
    }
    assert {"torn", "skipped", "failed"} <= {event["event"] for event in seen}
    for event in seen:
        fields = set(event) - {"event"}
        optional = {"loss", "learning_rate", "grad_norm", "eval_loss", "best"} | (
            {"file"} if event["event"] == "note" else set()
        )
        assert fields <= table[event["event"]], event
        assert fields >= table[event["event"]] - optional, event


def killing(moment: str) -> Callable[[str], None]:
    left = [moment]

    def tick(now: str) -> None:
        if now in left:
            left.remove(now)
            raise Kill

    return tick


# -- The shortest example ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_of_the_readme_trains_and_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    import audit
    from audit.cli import run
    from tests.backends.hf_trainer.letters import VOCABULARY, letters

    (config,) = re.findall(r"^```toml\n(.*?)^```$", README.partition("\n## Train\n")[2], re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^```jsonl\n(.*?)^```$", README.partition("\n## Train\n")[2], re.MULTILINE | re.DOTALL)
    home = tmp_path / "model"
    shape = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=512,
    )
    transformers.LlamaForCausalLM(shape).save_pretrained(home)
    letters().save_pretrained(home)
    (name,) = re.findall(r'^name_or_path = "(.*?)"', config, re.MULTILINE)
    (tmp_path / "train.toml").write_text(config.replace(name, str(home)))
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "monday.jsonl").write_text("".join(lines) * 10)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert run(["train", "train.toml"]) == 0
    assert audit.verify("current_model").verdict == "sound"
    assert (tmp_path / "done" / "monday.jsonl").exists()
