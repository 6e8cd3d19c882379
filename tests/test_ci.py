"""What services read: the snippets of docs/ci.md, whose commands are run, and the project's own hooks and forms."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import yaml

from audit.cli import COMMANDS
from audit.cli.parser import build
from audit.testing.runs import make_run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
GITHUB, GITLAB, PRE_COMMIT = (
    yaml.safe_load(block)
    for block in re.findall(r"^```yaml\n(\S.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)  # not the one step of an action
)
STEPS = GITHUB["jobs"]["audit"]["steps"]
SCRIPT = GITLAB["verify-checkpoints"]["script"]
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
OWN_HOOKS = [
    hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repository["hooks"]
]
FORMS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
}


class Ended(NamedTuple):
    """How a line of a job ended."""

    code: int
    out: str
    err: str


@pytest.fixture(params=["sound", "broken"])
def verdict(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkout with a run in it: sound, or with a file lost."""
    run = Path(make_run(tmp_path / "checkout" / "current_model"))
    if request.param == "broken":
        (run / "checkpoint-300" / "optimizer.pt").unlink()
    monkeypatch.chdir(run.parent)
    return str(request.param)


@pytest.fixture
def follow(tmp_path: Path) -> Callable[[str], Ended]:
    """``follow(command)`` as a step of a job: ``pip`` is a stand-in, ``audit`` is this one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pip").write_text('#!/bin/sh\ntest "$*" = "install checkpoint-audit"\n')
    (programs / "audit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m audit "$@"\n')
    for path in programs.iterdir():
        path.chmod(0o755)

    def run(command: str) -> Ended:
        done = subprocess.run(
            ["sh", "-e", "-c", command],
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "CI": "true",
                "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def step(name: str) -> str:
    (found,) = (item["run"] for item in STEPS if item.get("name") == name)
    return str(found)


def test_the_step_that_verifies_fails_the_job_and_annotates(follow: Callable[[str], Ended], verdict: str) -> None:
    ended = follow(step("Verify"))

    assert ended.code == (verdict == "broken")
    assert ended.err == ""
    place = "::error file=current_model/checkpoint-300/optimizer.pt,title=files/missing-optimizer::"
    assert (place in ended.out) == (verdict == "broken")
    assert ended.out.startswith("::error " if verdict == "broken" else "::notice ")
    assert sorted(path.name for path in Path("current_model").iterdir()) == [f"checkpoint-{n}00" for n in (1, 2, 3)]


def test_the_alerts_are_written_where_the_next_step_looks(follow: Callable[[str], Ended], verdict: str) -> None:
    (upload,) = (item for item in STEPS if "upload-sarif" in item.get("uses", ""))

    ended = follow(step("Write alerts"))

    assert ended == Ended(0, "", "")
    (run,) = json.loads(Path(upload["with"]["sarif_file"]).read_text())["runs"]
    assert len(run["results"]) == (verdict == "broken")
    assert GITHUB["permissions"]["security-events"] == "write"


def test_the_summary_is_appended(follow: Callable[[str], Ended], verdict: str, tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("before\n")

    ended = follow(step("Summarize"))

    first, fence, headline, *_, last = (tmp_path / "summary.md").read_text().splitlines()
    assert ended == Ended(0, "", "")
    assert (first, fence, last) == ("before", "```text", "```")
    assert headline.startswith(f"current_model: {verdict.upper()}")


def test_what_shows_a_failure_runs_after_one() -> None:
    names = [item.get("name") for item in STEPS]

    assert all(item["if"] == "${{ !cancelled() }}" for item in STEPS[names.index("Verify") + 1 :])


def test_the_script_of_gitlab_leaves_its_report_where_it_is_looked_for(
    follow: Callable[[str], Ended], verdict: str
) -> None:
    artifacts = GITLAB["verify-checkpoints"]["artifacts"]

    codes = [follow(line).code for line in SCRIPT]

    assert codes == [0, verdict == "broken"]
    assert artifacts["when"] == "always"
    assert ET.parse(artifacts["reports"]["junit"]).getroot().get("failures") == str(int(verdict == "broken"))


def test_no_line_of_the_workflow_is_left_untried() -> None:
    tried = {step("Verify"), step("Write alerts"), step("Summarize")}

    assert [item["run"] for item in STEPS if "run" in item and item["run"] not in tried] == [SCRIPT[0]]


def test_the_lines_of_the_readme_do_the_same(follow: Callable[[str], Ended], verdict: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = readme.partition("\n## In CI\n")[2].partition("```sh\n")[2].partition("```")[0].splitlines()

    assert [follow(line).code for line in lines] == [verdict == "broken"] * 3
    assert Path("audit.xml").exists()
    assert Path("audit.sarif").exists()


def test_the_hook_refuses_a_commit_that_breaks_a_checkpoint(follow: Callable[[str], Ended], verdict: str) -> None:
    (repository,) = PRE_COMMIT["repos"]
    (asked,) = repository["hooks"]

    ended = follow(f"{HOOK['entry']} {shlex.join(asked['args'])}")

    assert asked["id"] == HOOK["id"]
    assert ended.code == (verdict == "broken")
    assert not Path("current_model", ".audit").exists()


def test_the_hook_names_a_command_that_there_is_and_no_files() -> None:
    program, command, *options = HOOK["entry"].split()

    assert (program, HOOK["language"], HOOK["pass_filenames"], HOOK["always_run"]) == ("audit", "python", False, True)
    build(COMMANDS, {command}).parse_args([command, *options, "current_model"])


def test_every_format_that_the_page_names_is_registered() -> None:
    from audit.manager import load

    table = PAGE.partition("## GitHub Actions")[0]
    named = set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE))

    assert named
    assert named <= set(load().reporters) - {"console", "json"}


def keys(document: Any) -> set[str]:
    if isinstance(document, dict):
        return set(map(str, document)).union(*map(keys, document.values()))
    return set().union(*map(keys, document)) if isinstance(document, list) else set()


def test_no_key_is_misspelt() -> None:
    """Services ignore or refuse a key that they do not know; these are the ones that the snippets may use."""
    github = "name on permissions contents security-events jobs audit runs-on steps uses with lfs python-version run if"
    gitlab = "verify-checkpoints image script artifacts when reports junit"

    assert keys(GITHUB) - {"True"} <= {*github.split(), "sarif_file"}  # YAML 1.1 reads `on` as true
    assert keys(GITLAB) <= set(gitlab.split())
    assert keys(PRE_COMMIT) <= {"repos", "repo", "rev", "hooks", "id", "args"}


# -- the project's own hooks and forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", OWN_HOOKS, ids=lambda hook: str(hook["id"]))
def test_a_hook_of_the_project_runs_what_tox_runs(hook: dict[str, Any]) -> None:
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    program = re.split(r" --", hook["entry"])[0]

    assert hook["language"] == "system"
    assert re.search(rf"^    {program}( |$)", tox, re.MULTILINE)


def test_there_is_a_form_for_each_kind_of_wrong_verdict() -> None:
    assert list(FORMS) == ["false-alarm", "missed-damage"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_asks_for_the_report_the_versions_and_the_configuration(name: str) -> None:
    form = FORMS[name]
    fields = {item["id"]: item for item in form["body"] if item["type"] != "markdown"}
    required = {field for field, item in fields.items() if item.get("validations", {}).get("required")}

    assert {"report", "versions", "configuration"} <= required
    assert "`audit verify --format json RUN`" in fields["report"]["attributes"]["description"]
    assert "`audit --version`" in fields["versions"]["attributes"]["description"]
    assert any(re.search(r"Replace\s+names", item["attributes"].get("value", "")) for item in form["body"])


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_the_keys_that_github_knows(name: str) -> None:
    """Source: docs.github.com, "Syntax for issue forms" and "Syntax for GitHub's form schema"."""
    form = FORMS[name]
    texts = {"label", "description", "placeholder", "value", "render"}

    assert set(form) == {"name", "description", "title", "labels", "body"}
    for item in form["body"]:
        assert set(item) <= {"type", "id", "attributes", "validations"}
        assert item["type"] in {"markdown", "input", "textarea"}
        assert set(item["attributes"]) <= ({"value"} if item["type"] == "markdown" else texts)
        assert ("render" in item["attributes"]) <= (item["type"] == "textarea")


@pytest.mark.parametrize("name", FORMS)
def test_every_command_of_a_form_is_one(name: str) -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8")
    commands = re.findall(r"`audit ([a-z]+ .*?)`", text)

    assert commands
    for command in commands:
        words = shlex.split(command)
        build(COMMANDS, {words[0]}).parse_args(words)
