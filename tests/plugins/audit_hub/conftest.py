"""``audit hub`` as a command of its own, since its client reads the environment when it is imported; and a Hub."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from audit.testing.runs import make_run
from tests.plugins.audit_hub.server import TOKEN, Hub, serving


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Desk:
    """A home directory with a run in it, and the Hub that its commands talk to."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home, self.hub = home, hub
        hub.sources = [home]
        self.run = make_run(home / "run")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        self.env = {**kept, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home / "hf"), "CI": "1"}
        if not hub.xet:
            self.env["HF_HUB_DISABLE_XET"] = "1"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "audit", *arguments]

    def audit(self, *arguments: str, **env: str) -> Ended:
        """Run ``audit ARGUMENTS`` in the home directory; no token is ever in what it says."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.home,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        assert TOKEN not in ended.said
        assert "Traceback" not in ended.said
        return ended

    def __call__(self, *arguments: str, **env: str) -> Ended:
        return self.audit("hub", *arguments, **env)

    def pushes(self, run: str = "run") -> list[dict[str, Any]]:
        """The queue as ``audit hub list`` has it."""
        return list(json.loads(self("list", run, "--format", "json").out)["pushes"])

    def state(self) -> str:
        (only,) = self.pushes()
        return str(only["state"])

    @property
    def repo(self) -> str:
        """The only repository there is."""
        (name,) = self.hub.repos
        return name

    @property
    def outbox(self) -> list[str]:
        place = Path(self.run, ".audit", "outbox")
        return sorted(os.listdir(place)) if place.is_dir() else []


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Without xet."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    with serving(tmp_path / "hub") as hub:
        (tmp_path / "home").mkdir()
        yield Desk(tmp_path / "home", hub)


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[[bool], Desk]]:
    """With xet or without."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(xet: bool) -> Desk:
            if xet:
                pytest.importorskip("hf_xet", reason="hf_xet is not installed")
            hub = stack.enter_context(serving(tmp_path / f"hub-{xet}", xet))
            home = tmp_path / f"home-{xet}"
            home.mkdir()
            return Desk(home, hub)

        yield make


def contents(place: str | Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes() for path in sorted(Path(place).rglob("*")) if path.is_file()
    }
