"""docs/backends.md does what it says: its example backend and its recipes are run, from the page as it stands."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from audit.api import verify
from audit.backend.training import LegData, LegRequest, LegResult
from audit.manager import load
from audit.options import Options
from audit.training.config import read_train_config
from audit_command.settings import PLACEHOLDERS, SCHEMA
from tests.backends.command import script

PAGE = (Path(__file__).parents[1] / "docs" / "backends.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TABLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
HEAD = 'run = "model"\nbackend = "command"\n[data]\ninbox = "inbox"\n[watch]\nsettle-seconds = 0\n'


def put(home: Path, *names: str) -> None:
    for name in names:
        (home / name).write_text(FILES[name], encoding="utf-8")


def drop(home: Path, name: str, *texts: str) -> Path:
    (home / "inbox").mkdir(exist_ok=True)
    path = home / "inbox" / name
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def audit(home: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "audit", *words],
        cwd=home,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# -- the page itself ---------------------------------------------------------------------------------------------------


def test_every_placeholder_stands_on_the_page_and_no_other() -> None:
    rows = re.findall(r"^\| `\{([a-z_]+)\}` \| `AUDIT_([A-Z_]+)` \|", PAGE, re.MULTILINE)

    assert [name for name, _ in rows] == list(PLACEHOLDERS)
    assert all(variable == name.upper() for name, variable in rows)


def test_every_key_of_the_command_stands_on_the_page_and_no_other() -> None:
    table = PAGE.partition("| key of `[command]` |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == list(SCHEMA["command"]["properties"])


def test_the_backends_are_listed_as_on_the_page(tmp_path: Path) -> None:
    assert audit(tmp_path, "backends").stdout in PAGE


@pytest.mark.parametrize("table", TABLES)
def test_every_configuration_on_the_page_is_taken(tmp_path: Path, table: str) -> None:
    text = table if "[command]" in table else f"{HEAD}[command]\n{table}"
    (tmp_path / "train.toml").write_text(text)

    config, trainer = read_train_config(str(tmp_path / "train.toml"), load())

    assert trainer.name == "command"
    assert config.settings["command"]["examples_per_step"] in (8, 16)


# -- a backend of one's own --------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path) -> ModuleType:
    put(tmp_path, "audit_toy.py")
    spec = util.spec_from_file_location("audit_toy", tmp_path / "audit_toy.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def legs(toy: ModuleType, tmp_path: Path) -> Callable[..., LegResult]:
    """``train(run, first, last, example)``: one leg of the toy."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    data = drop(tmp_path, "a.jsonl", *(f"line {number}" for number in range(30)))
    trainer = load([toy]).trainer("toy")

    def train(run: Path, first: int, last: int, tell: Callable[[Any], None] = lambda _: None) -> LegResult:
        resume = str(run / f"checkpoint-{first}") if first else None
        leg = LegData(str(data), "order", epochs=2, first=4 * first)
        try:
            return trainer.train(LegRequest(str(run), resume, first, last, leg, {"schedule": {}}, seed=1), tell)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    return train


def files_of(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.name != "training_args.bin"}


def test_the_toy_ends_in_the_same_bytes_however_it_is_cut(legs: Callable[..., LegResult], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    legs(whole, 0, 15)

    def stop(event: Any) -> None:
        if event.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = legs(cut, 0, 15, stop)
    ended = legs(cut, 7, 15)

    assert (stopped.last_step, stopped.stopped_by, ended.last_step) == (7, signal.SIGTERM, 15)
    assert [step for step, _ in ended.losses] == list(range(8, 16))
    assert files_of(cut / "checkpoint-15") == files_of(whole / "checkpoint-15")


def test_the_toy_learns_and_its_checkpoints_are_sound(legs: Callable[..., LegResult], tmp_path: Path) -> None:
    result = legs(tmp_path / "model", 0, 15)

    losses = [loss for _, loss in result.losses]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert verify(str(tmp_path / "model"), Options(), registry=load()).verdict == "sound"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the toy as pip leaves it: the module, and beside it the entry point."""
    put(tmp_path, "audit_toy.py", "train.toml")
    (tmp_path / "audit_toy-0.1.0.dist-info").mkdir()
    (point,) = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]["audit"].items()
    (tmp_path / "audit_toy-0.1.0.dist-info" / "entry_points.txt").write_text("[audit]\n{} = {}\n".format(*point))
    return tmp_path


def test_audit_train_finds_the_toy_and_trains_with_it(installed: Path) -> None:
    drop(installed, "a.jsonl", *(f"line {number}" for number in range(10)))
    drop(installed, "b.jsonl", *(f"word {number}" for number in range(9)))
    drop(installed, "c.jsonl").write_text('{"text": 3}\n')
    place = {"PYTHONPATH": str(installed)}

    assert (
        "toy         trains                        a toy that fits 64 weights\n"
        in audit(installed, "backends", **place).stdout
    )
    done = audit(installed, "train", "train.toml", **place)

    assert (done.returncode, "c.jsonl" in done.stderr + done.stdout) == (1, True)
    assert [path.name for path in sorted((installed / "done").iterdir())] == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in (installed / "rejected").glob("*.jsonl")] == ["c.jsonl"]
    assert {path.name for path in (installed / "model").glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-5", "checkpoint-6"}  # fmt: skip
    assert audit(installed, "verify", "model", **place).returncode == 0


def test_a_slip_in_the_toys_table_is_named(installed: Path) -> None:
    config = installed / "train.toml"
    config.write_text(FILES["train.toml"].replace("save_steps = 5", "save_step = 5"))

    done = audit(installed, "train", "train.toml", PYTHONPATH=str(installed))

    assert done.returncode == 2
    assert "toy.save_step: there is no such key; did you mean 'save_steps'" in done.stderr


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_what_is_due_is_each_example_once_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(FILES["due.py"], "due.py", "exec"), namespace)
    data = drop(tmp_path, "a.jsonl", *"abcdefg")
    for name, value in {"DATA": str(data), "EPOCHS": "2", "SEED": "3", "SKIP_EXAMPLES": "0"}.items():
        monkeypatch.setenv(f"AUDIT_{name}", value)
    whole = [row["text"] for row in namespace["due_rows"]()]
    monkeypatch.setenv("AUDIT_SKIP_EXAMPLES", "5")
    rest = [row["text"] for row in namespace["due_rows"]()]

    assert sorted(whole[:7]) == sorted(whole[7:]) == list("abcdefg")
    assert whole[:7] != whole[7:]
    assert rest == whole[5:]


def test_axolotl_is_given_the_leg(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="axolotl brings it")
    put(tmp_path, "due.py", "axolotl_leg.py", "audit_leg.py")
    (tmp_path / "axolotl.yml").write_text("lr_scheduler: constant\ndatasets:\n  - path: x\n    type: completion\n")
    drop(tmp_path, "a.jsonl", *(f"a{number}" for number in range(16)))
    drop(tmp_path, "b.jsonl", *(f"b{number}" for number in range(9)))
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "axolotl"
    stand_in.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nsys.path.insert(0, {os.path.dirname(script.__file__)!r})\nimport script\n"
        "config = json.load(open(sys.argv[2]))\nassert sys.argv[1] == 'train'\n"
        "config['rows'] = [json.loads(line)['text'] for line in open(config['datasets'][0]['path'])]\n"
        "json.dump(config, open(f'leg-{config[\"max_steps\"]}.json', 'w'))\nscript.save(config['max_steps'])\n"
    )
    stand_in.chmod(0o755)
    (recipe,) = (table for table in TABLES if "axolotl" in table)
    (tmp_path / "train.toml").write_text(f"{HEAD}[command]\n{recipe}".replace('"python"', f'"{sys.executable}"'))

    done = audit(tmp_path, "train", "train.toml", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")

    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"leg-{step}.json").read_text()) for step in (2, 4))
    assert sorted(first["rows"]) == sorted(f"a{number}" for number in range(16))
    assert sorted(second["rows"]) == sorted(f"b{number}" for number in range(9))
    assert first["resume_from_checkpoint"] is None
    assert second["resume_from_checkpoint"] == str(tmp_path / "model" / "checkpoint-2")
    assert second["datasets"][0]["type"] == "completion"
    assert second["output_dir"] == str(tmp_path / "model")
    assert second["plugins"] == ["audit_leg.AuditLeg"]
    assert first["dataset_prepared_path"] != second["dataset_prepared_path"]


def base_model(path: Path) -> None:
    """A tiny Llama with random weights, and a tokenizer of letters."""
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers

    from tests.backends.hf_trainer.fitting import libraries_hush

    words = ["[pad]", "[unk]", *"abcdefghijklmnopqrstuvwxyz"]
    letters = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[unk]"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fields = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with libraries_hush():
        transformers.set_seed(0)
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="[pad]", unk_token="[unk]")
        tokenizer.save_pretrained(path)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields, vocab_size=len(words))).save_pretrained(path)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """``prepare(name, argv, per_step, before)``: a directory in which the recipe with Trainer is ready to run."""
    base_model(tmp_path / "base")
    letters = "abcdefghijklmnopqrstuvwxyz" * 2

    def prepare(name: str, launcher: list[str], per_step: int, before: str = "", files: int = 2) -> Path:
        home = tmp_path / name
        home.mkdir()
        put(home, "due.py", "train.py")
        code = FILES["train.py"].replace("trainer.train(", f"{before}\ntrainer.train(")
        (home / "train.py").write_text(code)
        argv = [*launcher, "train.py", str(tmp_path / "base"), "3"]
        (home / "train.toml").write_text(
            f"{HEAD}epochs = 2\n".replace('[watch]\nsettle-seconds = 0\n', "")
            + f"[watch]\nsettle-seconds = 0\n[command]\nargv = {json.dumps(argv)}\nexamples_per_step = {per_step}\n"
        )  # fmt: skip
        for number in range(files):
            drop(home, f"{number}.jsonl", *(letters[row % 26 : row % 26 + 5 + number] for row in range(24)))
        return home

    return prepare


INTERRUPTED = """
import time

class Interrupt(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        for step, number in ((2, 9), (4, 9), (8, 15)):
            if state.global_step == step and not os.path.exists(f"interrupted-{step}"):
                open(f"interrupted-{step}", "w").close()
                if number == 9:
                    os.kill(os.getpid(), number)
                os.kill(int(open("audit.pid").read()), number)
                while not trainer.callback_handler.callbacks[-2].asked:
                    time.sleep(0.01)

trainer.callback_handler.callbacks.insert(-1, trainer.callback_handler.callbacks.pop())
trainer.add_callback(Interrupt())
"""


@pytest.mark.slow
def test_the_recipe_with_trainer_ends_in_the_same_weights_however_it_is_cut(recipe: Callable[..., Path]) -> None:
    whole, cut = recipe("whole", [sys.executable], 8), recipe("cut", [sys.executable], 8, INTERRUPTED)
    assert audit(whole, "train", "train.toml").returncode == 0

    codes = []
    for _ in range(4):
        program = subprocess.Popen([sys.executable, "-P", "-m", "audit", "train", "train.toml"], cwd=cut)
        (cut / "audit.pid").write_text(str(program.pid))
        codes.append(program.wait())

    assert codes == [1, 1, 143, 0]
    for name in ("model.safetensors", "optimizer.pt"):
        assert (cut / f"model/checkpoint-12/{name}").read_bytes() == (
            whole / f"model/checkpoint-12/{name}"
        ).read_bytes()
    assert audit(cut, "verify", "model").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], 2),
        (["-m", "accelerate.commands.launch", "--num_processes", "1", "--cpu"], 1),
    ],
    ids=["torchrun", "accelerate"],
)
def test_the_recipe_runs_under_a_launcher(recipe: Callable[..., Path], launcher: list[str], processes: int) -> None:
    home = recipe("launched", [sys.executable, *launcher], 8 * processes)

    done = audit(home, "train", "train.toml")

    assert done.returncode == 0, done.stderr + (home / "model/.audit/training.log").read_text()
    assert "note" not in done.stdout + done.stderr
    newest = home / f"model/checkpoint-{12 // processes}"
    assert len(list(newest.glob("rng_state*.pth"))) == processes
    assert verify(str(home / "model"), Options(), registry=load()).verdict == "sound"


@pytest.mark.slow
def test_workers_of_torchrun_die_with_the_audit(recipe: Callable[..., Path]) -> None:
    hang = "open(f'worker-{os.getpid()}', 'w').close()\nimport time\ntime.sleep(600)"
    home = recipe(
        "two", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], 16, hang
    )
    program = subprocess.Popen([sys.executable, "-P", "-m", "audit", "train", "train.toml"], cwd=home)
    while len(list(home.glob("worker-*"))) < 2 and program.poll() is None:
        time.sleep(0.1)
    workers = [int(path.name.partition("-")[2]) for path in home.glob("worker-*")]
    assert len(workers) == 2

    program.kill()
    program.wait()

    for _ in range(500):
        if not any(os.path.exists(f"/proc/{pid}") for pid in workers):
            return
        time.sleep(0.02)
    raise AssertionError("a worker goes on")
