"""docs/custom-rule.md does what it says: its package is put where an outsider's would be installed, and found."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from audit import hookspecs
from audit.testing.runs import edit_json, make_run

PAGE = (Path(__file__).parents[1] / "docs" / "custom-rule.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
PROJECT = tomllib.loads(FILES["pyproject.toml"])

Audit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the package is installed as pip leaves it: the module, and what the metadata says of its entry points."""
    place = tmp_path / "site-packages"
    metadata = place / "audit_team-1.0.dist-info"
    metadata.mkdir(parents=True)
    for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        (place / name).write_text(FILES[name], encoding="utf-8")
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: audit-team\nVersion: 1.0\n")
    groups = PROJECT["project"]["entry-points"]
    metadata.joinpath("entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items())
    )
    return place


@pytest.fixture
def run_python(home: Path, tmp_path: Path) -> Audit:
    """``run_python(*arguments)`` in an environment where the package is installed."""
    paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("command", ["rules team", "explain team/rank-too-large"])
def test_the_rules_are_found_and_shown_as_on_the_page(run_python: Audit, command: str) -> None:
    expected = PAGE.partition(f"$ audit {command}\n")[2].partition("\n$ ")[0].partition("\n```")[0]

    done = run_python("-m", "audit", *command.split())

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == expected.strip() != ""


def test_they_judge_a_run_and_obey_the_configuration(run_python: Audit, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rank=12)
    for step in (100, 200, 300):
        edit_json(f"{run}/checkpoint-{step}/adapter_config.json", base_model_name_or_path="our-registry/base")
    assert run_python("-m", "audit", "verify", "run").returncode == 0

    (tmp_path / "audit.toml").write_text(FILES["audit.toml"])
    done = run_python("-m", "audit", "verify", "run")

    assert done.returncode == 1
    where = "checkpoint-100/adapter_config.json, and in checkpoint-200, checkpoint-300"
    assert f"error  team/rank-too-large  {where}\n" in done.stdout
    assert "-> Train with a smaller r" in done.stdout


def test_the_tests_on_the_page_pass(run_python: Audit, tmp_path: Path) -> None:
    (tmp_path / "test_audit_team.py").write_text(FILES["test_audit_team.py"])

    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_audit_team.py")

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_page_names_every_hook_and_no_other() -> None:
    there = {name for name in vars(hookspecs) if name.startswith("audit_")}

    assert set(re.findall(r"`(audit_\w+)`", PAGE.partition("| hook |")[2])) == there
