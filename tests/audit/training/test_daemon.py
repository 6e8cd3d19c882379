"""`audit train --watch` as a process of its own, as a supervisor would run it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.audit.training.conftest import CONFIG
from tests.audit.training.toy import trained_in, write_rows

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets")
START = f"""
import atexit, sys
from audit.cli import main
heavy = {HEAVY!r}
atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr))
main(sys.argv[1:])
"""


class Daemon:
    """A daemon with the toy backend, found by an entry point as an outsider's would be."""

    def __init__(self, home: Path, *options: str, toy: str = "per_step = 2") -> None:
        self.home, self.inbox = home, home / "inbox"
        self.inbox.mkdir()
        plugins = home / "plugins"
        info = plugins / "toy-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[audit]\ntoy = toy_plugin\n")
        (plugins / "toy_plugin.py").write_text(
            textwrap.dedent("""
            from audit.hookspecs import hookimpl
            from tests.audit.training.toy import Toy

            @hookimpl
            def audit_training_backends():
                return [Toy()]
            """)
        )
        (home / "train.toml").write_text(CONFIG.format(data="", toy=toy, more=""))
        rooms = [str(place) for place in (plugins, ROOT, ROOT / "backends", ROOT / "plugins")]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, "train", "train.toml", "--watch", *options],
            cwd=home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(rooms)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, word: str) -> list[str]:
        """Read lines until one has ``word`` in it."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if word in line:
                return lines
        pytest.fail(f"{lines} {self.process.communicate()}")

    def drop(self, name: str, examples: list[int]) -> None:
        write_rows(self.inbox / f".{name}", examples).rename(self.inbox / name)

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


def trained(daemon: Daemon, step: int) -> list[int]:
    return sorted(number for numbers in trained_in(daemon.home / "run" / f"checkpoint-{step}") for number in numbers)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    pytest.importorskip("watchfiles", reason="the extra watch is not installed")
    made: list[Daemon] = []

    def make(*options: str, **parts: str) -> Daemon:
        made.append(Daemon(tmp_path, *options, **parts))
        return made[-1]

    yield make
    for daemon in made:
        daemon.process.kill()
        daemon.process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_idle_daemon_ends_when_asked_to_and_says_by_what(
    number: int, code: int, start: Callable[..., Daemon]
) -> None:
    daemon = start()
    daemon.until("waiting for files")
    ended, out, err = daemon.end(number)
    assert (ended, out) == (code, "")
    assert "Traceback" not in err


def test_a_daemon_trains_what_is_dropped_and_never_loads_what_trains(start: Callable[..., Daemon]) -> None:
    daemon = start("--log-format", "json")
    daemon.until('"waiting"')
    daemon.drop("a.jsonl", [1, 2, 3])
    lines = daemon.until('"waiting"')
    code, _, err = daemon.end(signal.SIGTERM)

    kinds = [json.loads(line)["event"] for line in lines]
    assert kinds == ["batch", "step", "step", "finished", "retired", "waiting"]
    assert trained(daemon, 2) == [1, 2, 3]
    assert (code, err.splitlines()[-1]) == (143, "[]")


@pytest.mark.slow
def test_an_idle_daemon_needs_hardly_any_processor_and_little_memory(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.until("waiting for files")
    status = Path(f"/proc/{daemon.process.pid}/stat")
    if not status.exists():
        pytest.skip("no /proc here")

    def ticks() -> int:
        fields = status.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(2)
    assert ticks() - before <= 0.05 * 2 * os.sysconf("SC_CLK_TCK")  # what is measured is processor time, not the clock
    peak = next(line for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 150_000  # kB; torch alone takes more


def test_a_daemon_that_is_killed_while_it_trains_leaves_a_run_from_which_the_next_goes_on(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = start("--log-format", "json", toy="save_steps = 5")
    daemon.drop("a.jsonl", list(range(400)))
    lines: list[Any] = daemon.until('"step": 20')
    daemon.end(signal.SIGKILL)

    again = subprocess.Popen(
        daemon.process.args,
        cwd=daemon.home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path / "plugins", ROOT)))},
        stdout=subprocess.PIPE,
        text=True,
    )
    daemon.process = again
    lines = [json.loads(line) for line in daemon.until('"waiting"')]
    daemon.end(signal.SIGTERM)

    batch = next(event for event in lines if event["event"] == "batch")
    assert batch["first_example"] >= 30
    assert trained(daemon, 200) == list(range(400))
