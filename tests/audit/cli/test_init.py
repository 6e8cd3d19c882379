"""`audit init`: by options, by questions on a terminal, and never over a file that is there."""

import os
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.audit.cli.conftest import Ended, command, one_line
from tests.audit.cli.terminal import Terminal

Audit = Callable[..., Ended]
NEEDS_HF = pytest.mark.skipif(not all(map(find_spec, ("transformers", "peft"))), reason="the extra hf is not installed")


def read(path: str) -> dict[str, object]:
    return tomllib.loads(Path(path).read_text())


def test_options_are_enough_and_the_inbox_is_made(audit: Audit) -> None:
    ended = audit("init", "--model", "org/base-model", "--run", "out", "--inbox", "drop")
    found = read("train.toml")

    assert (ended.code, ended.out.splitlines()[0]) == (0, "train.toml: written; every key is explained in it")
    assert "put data files into drop, then: audit plan train.toml" in ended.out
    assert (found["run"], found["data"]) == ("out", {"inbox": "drop"})
    assert os.path.isdir("drop")
    assert not os.path.exists("out")


def test_nothing_is_overwritten(audit: Audit) -> None:
    Path("train.toml").write_text("mine")
    os.symlink("nowhere", "link.toml")

    assert "is already there" in one_line(audit("init", "--model", "org/base-model"))
    assert "is already there" in one_line(audit("init", "link.toml", "--model", "org/base-model"))
    assert Path("train.toml").read_text() == "mine"
    assert not os.path.exists("nowhere")


def test_without_a_terminal_nothing_is_asked(installed: Audit) -> None:
    done = subprocess.run(
        command(["init"]), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "--model is missing" in done.stderr
    assert os.listdir() == []


def test_paths_are_those_of_the_shell_and_become_relative_to_the_file(audit: Audit) -> None:
    os.makedirs("deep/configs")
    os.mkdir("base")
    ended = audit("init", "deep/configs/a.toml", "--model", "base", "--run", "out", "--inbox", os.path.abspath("in"))
    found = read("deep/configs/a.toml")

    assert ended.code == 0
    assert (found["run"], found["model"]) == ("../../out", {"name_or_path": "../../base"})
    assert found["data"] == {"inbox": os.path.abspath("in")}
    assert "put data files into in, then: audit plan deep/configs/a.toml" in ended.out


@NEEDS_HF
def test_a_file_that_would_be_refused_is_not_left(audit: Audit) -> None:
    ended = audit("init", "--model", "org/base-model", "--run", "out", "--inbox", "out/inbox")

    assert "data.inbox" in one_line(ended)
    assert os.listdir() == []


@pytest.mark.parametrize(("model", "said"), [("./nowhere", "there is no directory"), ("", "is empty")])
def test_a_model_that_cannot_be_is_refused(audit: Audit, model: str, said: str) -> None:
    assert said in one_line(audit("init", "--model", model))
    assert os.listdir() == []


def test_a_directory_that_is_not_there_is_one_line(audit: Audit) -> None:
    assert "nowhere/train.toml: No such file" in one_line(audit("init", "nowhere/train.toml", "--model", "a/b"))


def asked(*arguments: str, answers: Sequence[str]) -> tuple[int, str]:
    """Answer each question on a terminal; return the exit code and what was seen."""
    with Terminal(["init", *arguments]) as terminal:
        for number, answer in enumerate(answers, 1):
            terminal.until(lambda seen, number=number: seen.count(": ") >= number)  # type: ignore[misc]
            terminal.send(answer)
        return terminal.ended(), terminal.seen


def test_on_a_terminal_the_missing_is_asked_for() -> None:
    code, seen = asked("--run", "out", answers=["\n", "org/base-model\n", "\n", "xyz\n", "w\n"])
    found = read("train.toml")

    assert code == 0
    assert seen.count("Base model") == 2  # an empty answer is no model
    assert "Directory of the run" not in seen
    assert seen.count("LoRA adapter or the whole model?") == 2
    assert (found["run"], found["data"]) == ("out", {"inbox": "inbox"})
    assert "adapter" not in found


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 2)])
def test_who_gives_up_leaves_nothing(key: str, code: int) -> None:
    assert asked(answers=[key])[0] == code
    assert os.listdir() == []
