"""docs/tutorial.md is true: its commands are run one after the other, and print what stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.pages import commands_in

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = commands_in(PAGE)
VARIES = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "DATE"),
    (r"\d+\.\d\d s$", "SECONDS"),
    (r"\d+ checks passed, \d+ not applicable", "CHECKS"),  # a new rule is no reason to write the tutorial anew
    (r"\d+\.\d kB", "SIZE"),
    (r"\b[0-9a-f]{16}\b", "DIGEST"),
)


def lasting(text: str) -> list[str]:
    """What of an output is the same every time; on a terminal stdout and stderr come as they please."""
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return sorted(re.sub(r" +", " ", line) for line in text.splitlines())


def test_every_command_prints_what_the_tutorial_says(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("audit", "-m audit"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -P {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()

    for command, expected in COMMANDS:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=home,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert lasting(done.stdout + done.stderr) == lasting(expected), command


def test_the_commands_were_found() -> None:
    words = " ".join(command for command, _ in COMMANDS)

    assert len(COMMANDS) == len(re.findall(r"^\$ ", PAGE, re.MULTILINE))
    assert all(f"audit {name} " in words for name in ("verify", "list", "explain", "guard", "quarantine"))
