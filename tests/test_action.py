"""The GitHub Action at the root: its step runs as the runner runs it, with this audit for what pip brings."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from audit.testing.runs import make_run

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
"""What GitHub runs for ``shell: bash``."""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


class Ended(NamedTuple):
    """How the step ended, what it gave to later steps, and the summary of the job."""

    code: int
    out: str
    outputs: dict[str, str]
    summary: str


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """``verify(run=..., ...)``: the step with these inputs and the defaults, in a checkout with two runs."""
    checkout = tmp_path / "checkout"
    make_run(checkout / "sound")
    make_run(checkout / "a broken one")
    (checkout / "a broken one" / "checkpoint-300" / "optimizer.pt").unlink()
    programs = tmp_path / "temp" / "checkpoint-audit" / "bin"
    programs.mkdir(parents=True)
    (programs / "audit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m audit "$@"\n')
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for path in programs.iterdir():
        path.chmod(0o755)
    (step,) = (item for item in STEPS if item.get("id") == "verify")

    def run(**inputs: str) -> Ended:
        given = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()} | inputs
        values = {
            name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: given[found[1]], text)
            for name, text in step["env"].items()
        }
        outputs, summary = tmp_path / "outputs", tmp_path / "summary"
        for path in (outputs, summary):
            path.write_text("")
        runner = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_OUTPUT": str(outputs), "CI": "true"}
        done = subprocess.run(
            [*SHELL, step["run"]],
            env={**os.environ, **runner, "GITHUB_STEP_SUMMARY": str(summary), **values},
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return Ended(done.returncode, done.stdout, told, summary.read_text())

    return run


def test_a_sound_run_passes_and_later_steps_know_where_to_resume(verify: Callable[..., Ended]) -> None:
    ended = verify(run="sound")

    assert (ended.code, ended.outputs) == (0, {"verdict": "sound", "resume-from": "checkpoint-300"})
    assert ended.summary.startswith("```text\nsound: SOUND")
    assert ended.summary.endswith("```\n")


def test_a_broken_run_fails_the_job_and_is_annotated(verify: Callable[..., Ended], tmp_path: Path) -> None:
    ended = verify(run="a broken one\n", sarif="audit.sarif")

    assert (ended.code, ended.outputs) == (1, {"verdict": "broken", "resume-from": "checkpoint-200"})
    assert "title=files/missing-optimizer::" in ended.out
    assert '"ruleId": "files/missing-optimizer"' in (tmp_path / "checkout" / "audit.sarif").read_text()


def test_of_several_runs_the_worst_counts(verify: Callable[..., Ended]) -> None:
    ended = verify(**{"run": "sound\n\na broken one", "fail-on": "never"})

    assert (ended.code, ended.outputs) == (0, {"verdict": "broken", "resume-from": ""})


def test_a_run_that_is_not_there_is_no_verdict(verify: Callable[..., Ended]) -> None:
    ended = verify(run="nowhere")

    assert (ended.code, ended.outputs) == (2, {"verdict": "", "resume-from": ""})


@pytest.mark.parametrize("run", ["$(touch made)", "--help", "'; touch made; '", "`touch made`"])
def test_an_input_is_never_a_command_or_an_option(verify: Callable[..., Ended], tmp_path: Path, run: str) -> None:
    assert verify(run=run).code == 2
    assert not (tmp_path / "checkout" / "made").exists()


def test_no_script_holds_an_expression_and_every_input_and_output_is_used() -> None:
    """What is put into a script by the runner could be a command: inputs come from pull requests."""
    assert [item["run"] for item in STEPS if "${{" in item.get("run", "")] == []
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == ACTION["inputs"].keys()
    named = {re.search(r"outputs\.([a-z-]+)", item["value"])[1] for item in ACTION["outputs"].values()}  # type: ignore[index]
    assert named == ACTION["outputs"].keys() == {"verdict", "resume-from"}
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8").partition("### As an action")[2]
    assert [name for name in (*ACTION["inputs"], *ACTION["outputs"]) if f"`{name}`" not in page] == []
