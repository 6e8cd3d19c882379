"""A user's project, with pytest in a process of its own: several workers, JUnit, the failures of the last time."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from audit.testing.runs import make_run

PROJECT = """
[tool.pytest]
strict = true
testpaths = ["tests"]
filterwarnings = ["error", "default::pytest_audit.AuditWarning"]
audit_runs = ["current_model"]
"""
TESTS = """
from pytest_audit import assert_sound

def test_the_checkpoint_is_there(resumable_checkpoint):
    assert resumable_checkpoint.name == "checkpoint-100"

def test_the_run_is_sound(audit_run):
    assert_sound(audit_run)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_training.py").write_text(TESTS)
    run = Path(make_run(tmp_path / "current_model", (100, 200), layers=1))
    (run / "checkpoint-200" / "optimizer.pt").unlink()
    (run / "checkpoint-100" / "rng_state.pth").unlink()
    return tmp_path


def pytest_in(home: Path, *options: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", *options],
        cwd=home,
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "200"},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


FAILED = "FAILED current_model/checkpoint-200::files/missing-optimizer - optimizer.pt is not there"


def test_workers_judge_as_one_process_does(home: Path) -> None:
    pytest.importorskip("xdist")
    code, shared = pytest_in(home, "--audit", "current_model", "-q", "-n", "2")

    assert code == 1
    assert FAILED in shared
    assert shared.splitlines()[-1].startswith("1 failed, ")
    assert "Traceback" not in shared
    assert shared.count("AuditWarning: files/missing-rng-state") == 1


def test_a_whole_session_and_then_what_failed_in_it(home: Path) -> None:
    code, first = pytest_in(home, "--junitxml=found.xml")
    again_code, again = pytest_in(home, "--lf")

    assert (code, again_code) == (1, 1)
    assert FAILED in first
    assert "FAILED tests/test_training.py::test_the_run_is_sound - AssertionError: " in first
    assert re.match(r"2 failed, [0-9]+ deselected( in |, 1 warning)", again.splitlines()[-1].strip("= "))
    assert FAILED in again

    cases = {
        (case.get("classname"), case.get("name")): case
        for case in ET.parse(home / "found.xml").getroot().iter("testcase")
    }
    failure = cases["current_model.checkpoint-200", "files/missing-optimizer"].find("failure")
    assert failure is not None
    assert (
        failure.get("message") == "optimizer.pt is not there: a resume would start with a fresh optimizer and schedule"
    )
    assert "-> Resume from an older checkpoint" in (failure.text or "")
    skipped = cases["current_model", "rotation/limit-exceeded"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "save_total_limit is not set"
    noted = cases["current_model.checkpoint-100", "files/missing-rng-state"].find("properties/property")
    assert noted is not None
    assert noted.get("name") == "audit_warning"
