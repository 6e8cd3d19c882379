"""The command line: in this process where that is enough, as a command where the process itself matters."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from audit import cli
from audit.testing.runs import make_run


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of this repository, and no environment of this terminal, has a say."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("NO_COLOR", "CI", "AUDIT_TRACEBACK", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A sound run of three checkpoints."""
    return make_run(tmp_path / "run")


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A run with one error, in its newest checkpoint."""
    path = make_run(tmp_path / "broken")
    Path(path, "checkpoint-300", "optimizer.pt").unlink()
    return path


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``audit("verify", run)`` in this process."""

    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        try:
            code = cli.run(arguments)
        except SystemExit as end:
            code = end.code  # type: ignore[assignment]
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return call


def command(arguments: Sequence[str]) -> list[str]:
    """The installed command, or the module where only that is there."""
    script = os.path.join(os.path.dirname(sys.executable), "audit")
    return [script, *arguments] if os.path.exists(script) else [sys.executable, "-m", "audit", *arguments]


@pytest.fixture
def installed() -> Callable[..., Ended]:
    """``installed("verify", run)`` in a process of its own."""

    def call(*arguments: str, **environment: str) -> Ended:
        done = subprocess.run(
            command(arguments), capture_output=True, text=True, env={**os.environ, **environment}, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return call


def one_line(ended: Ended) -> str:
    """The one line that a refused command says; fails where there is more, or anything on stdout."""
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1
    return ended.err
