"""The recipes of docs/guard.md do what they say: each is run, with a stand-in for the launcher and for the script."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from audit import ResumeRefused
from audit.testing.runs import make_run

GUIDE = (Path(__file__).parents[1] / "docs" / "guard.md").read_text(encoding="utf-8")
SHELLS = [shell for shell in ("sh", "bash", "zsh") if shutil.which(shell)]

STAND_IN = """#!/bin/sh
{ printf '%s' "${0##*/}"; for word in "$@"; do printf '\\t%s' "$word"; done; printf '\\n'; } >> "$CALLS"
exit "${STATUS:-0}"
"""
LAUNCHERS = ("python", "accelerate", "torchrun", "axolotl", "llamafactory-cli", "trl", "srun", "b3sum")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


TRAINING = [block for block in blocks("sh") if "ckpt=$(audit guard" in block]


class Ended(NamedTuple):
    """How a recipe ended: exit code, stderr, and the words of each call of a launcher."""

    code: int
    err: str
    calls: list[list[str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a space in its name, with a run in which nothing was trained yet."""
    home = tmp_path / "my work"
    (home / "current_model").mkdir(parents=True)
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def follow(tmp_path: Path, here: Path) -> Callable[..., Ended]:
    """``follow(recipe, shell)`` runs a recipe in ``here``."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in LAUNCHERS:
        (programs / name).write_text(STAND_IN)
    (programs / "audit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m audit "$@"\n')
    for path in programs.iterdir():
        path.chmod(0o755)

    def run(recipe: str, shell: str, **environment: str) -> Ended:
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            [shell, "-c", recipe],
            cwd=here,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stderr, [line.split("\t") for line in calls.read_text().splitlines()])

    return run


@pytest.mark.parametrize(
    "recipe", TRAINING, ids=["python", "accelerate", "torchrun", "axolotl", "llamafactory", "trl", "slurm"]
)
class TestATrainingRecipe:
    """Lines of shell that ask the guard and then train."""

    @pytest.mark.parametrize("shell", SHELLS)
    def test_resumes_from_the_newest_good_one(
        self, here: Path, follow: Callable[..., Ended], recipe: str, shell: str
    ) -> None:
        Path(make_run(here / "current_model"), "checkpoint-300", "optimizer.pt").unlink()

        ended = follow(recipe, shell)

        (call,) = ended.calls
        option, _, value = call[-1].partition("=")
        assert (ended.code, value) == (0, "current_model/checkpoint-200")
        assert option.strip("-").replace("-", "_") == "resume_from_checkpoint"
        assert "skipped checkpoint-300" in ended.err

    @pytest.mark.parametrize("shell", SHELLS)
    def test_starts_fresh_where_nothing_was_trained(
        self, here: Path, follow: Callable[..., Ended], recipe: str, shell: str
    ) -> None:
        ended = follow(recipe, shell)

        (call,) = ended.calls
        assert ended.code == 0
        assert "" not in call
        assert not any("resume" in word for word in call)
        assert list(here.rglob("*")) == [here / "current_model"]

    def test_does_not_train_where_the_run_is_not_there(
        self, here: Path, follow: Callable[..., Ended], recipe: str
    ) -> None:
        (here / "current_model").rmdir()

        ended = follow(recipe, "sh")

        assert (ended.code, ended.calls) == (2, [])
        assert str(here / "current_model") in ended.err

    def test_does_not_train_where_the_guard_refuses(
        self, here: Path, follow: Callable[..., Ended], recipe: str
    ) -> None:
        for checkpoint in Path(make_run(here / "current_model")).iterdir():
            (checkpoint / "optimizer.pt").unlink()

        ended = follow(recipe, "sh")

        assert (ended.code, ended.calls) == (1, [])
        assert "refused" in ended.err

    def test_does_not_train_where_the_guard_could_not_judge(
        self, here: Path, follow: Callable[..., Ended], recipe: str
    ) -> None:
        make_run(here / "current_model")
        (here / "audit.toml").write_text("nonsense = 1\n")

        ended = follow(recipe, "sh")

        assert (ended.code, ended.calls) == (2, [])


def test_there_is_a_recipe_for_every_launcher() -> None:
    text = "\n".join(TRAINING)

    assert [name for name in LAUNCHERS if name not in text] == ["b3sum"]


def test_a_job_that_fails_asks_the_guard_again_and_ends(here: Path, follow: Callable[..., Ended]) -> None:
    (recipe,) = [block for block in TRAINING if "srun" in block]
    make_run(here / "current_model")

    ended = follow(recipe, "sh", STATUS="9")

    assert (ended.code, len(ended.calls)) == (1, 3)
    assert {call[-1] for call in ended.calls} == {"--resume_from_checkpoint=current_model/checkpoint-300"}


def test_the_step_of_ci_fails_unless_the_newest_is_good(here: Path, follow: Callable[..., Ended]) -> None:
    (recipe,) = [block for block in blocks("sh") if "--strict" in block]
    run = Path(make_run(here / "current_model"))
    assert follow(recipe, "sh").code == 0
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]

    (run / "checkpoint-300" / "optimizer.pt").unlink()

    assert follow(recipe, "sh").code == 1


def test_the_quarantine_leaves_the_good_one_for_a_search(here: Path, follow: Callable[..., Ended]) -> None:
    (recipe,) = [block for block in blocks("sh") if "audit quarantine" in block]
    run = Path(make_run(here / "current_model"))
    (run / "checkpoint-300" / "optimizer.pt").unlink()

    ended = follow(recipe, "sh")

    assert (ended.code, len(ended.calls)) == (0, 1)
    assert max(run.glob("checkpoint-*")).name == "checkpoint-200"


def test_the_seals_are_handed_to_the_tool(here: Path, follow: Callable[..., Ended]) -> None:
    (recipe,) = [block for block in blocks("sh") if "audit seal" in block]
    make_run(here / "current_model")

    ended = follow(recipe, "sh")

    (call,) = ended.calls
    assert ended.code == 0
    assert call[:2] == ["b3sum", "--check"]
    assert len(call) == 5
    assert all((here / "current_model" / name).is_file() for name in call[2:])


def test_no_block_of_shell_is_left_untried() -> None:
    tried = ("ckpt=$(audit guard", "--strict", "audit quarantine", "audit seal", "CHECKPOINT_VALIDATION_FUNCTION")

    assert [block for block in blocks("sh") if not any(word in block for word in tried)] == []


# -- Python -----------------------------------------------------------------------------------------------------------


class Trainer:
    """Remembers what it was to resume from."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def train(self, resume_from_checkpoint: object = False) -> None:
        self.asked.append(resume_from_checkpoint)


def run_python() -> list[object]:
    (recipe,) = blocks("python")
    trainer = Trainer()
    exec(compile(recipe, "docs/guard.md", "exec"), {"Trainer": lambda _: trainer})
    return trainer.asked


@pytest.mark.usefixtures("here")
def test_trainer_gets_a_str_or_none_and_is_not_called_where_the_guard_refuses() -> None:
    assert run_python() == [None]
    run = Path(make_run("current_model"))

    assert run_python() == ["current_model/checkpoint-300"]

    for checkpoint in run.glob("checkpoint-*"):
        (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(ResumeRefused, match="no checkpoint can be resumed from"):
        run_python()


def test_composer_finds_the_function_that_is_named() -> None:
    from importlib import import_module

    (name,) = re.findall(r"CHECKPOINT_VALIDATION_FUNCTION=(\S+)", GUIDE)
    module, _, function = name.rpartition(".")

    assert callable(getattr(import_module(module), function))
