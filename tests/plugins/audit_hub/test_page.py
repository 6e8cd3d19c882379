"""docs/hub.md is true: its commands are run one after the other, and print what it shows."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from audit.testing.runs import make_run
from audit_hub.settings import SCHEMA, settings_of
from tests.pages import commands_in
from tests.plugins.audit_hub.conftest import Desk

PAGE = (Path(__file__).parents[3] / "docs" / "hub.md").read_text(encoding="utf-8")
COMMANDS = commands_in(PAGE)
VARIES = (
    (r"\d{8}_\d{6}", "TIME"),
    (r"\b[0-9a-f]{40}\b", "COMMIT"),
    (r"\d+\.\d kB", "SIZE"),
    (r"http://127\.0\.0\.1:\d+", "https://huggingface.co"),
    (r" +", " "),
)


def lasting(text: str) -> str:
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.slow
def test_every_command_prints_what_the_page_shows(desk: Desk) -> None:
    make_run(desk.home / "current_model")
    programs = desk.home / "bin"
    programs.mkdir()
    (programs / "audit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m audit "$@"\n')
    (programs / "audit").chmod(0o755)
    for command, expected in COMMANDS:
        if desk.hub.repos:
            command = re.sub(r"me/lora-300-\S+", desk.repo, command)
        done = subprocess.run(
            ["sh", "-c", f"{command} 2>&1"],
            cwd=desk.home,
            env={**desk.env, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert lasting(done.stdout) == lasting(expected), command
    assert len(COMMANDS) == 7


def test_the_table_of_the_page_is_taken() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert settings_of(tomllib.loads(text)["hub"]).depth == "full"
    assert set(re.findall(r"^\| `--\S+, `([a-z]+)` \|", PAGE, re.MULTILINE)) == set(SCHEMA["properties"])
