"""What the pytest plugin costs a session that does not use it: whole sessions of one empty test, with it and without.

    python benchmarks/pytest_cost.py [--rounds 30]

Run it where the wheel is installed, not an editable checkout: pytest reads the list of files of every distribution that
brings a plugin, and only a wheel has a long one. "Not installed" is the same session with the group ``pytest11`` taken
out of the metadata for its time; the rounds are interleaved, and medians of the processor time are compared.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path


@contextmanager
def hidden(points: Path) -> Iterator[None]:
    """Take the plugin's line out of the installed metadata, and put it back."""
    before = points.read_text(encoding="utf-8")
    points.write_text(re.sub(r"\[pytest11\]\n(?:[^\[\n].*\n|\n)*", "", before), encoding="utf-8")
    try:
        yield
    finally:
        points.write_text(before, encoding="utf-8")


def session(home: str, *options: str) -> float:
    """Seconds of processor time of one session."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, home]
    subprocess.run(command, check=True, capture_output=True, cwd=home)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imported(home: str) -> str:
    """What ``-X importtime`` says of the plugin after pytest is imported; how pytest itself loads it is not listed."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import pytest, sys; sys.stderr.write('\\n'); import pytest_audit.plugin",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=home)
    return done.stderr.rpartition("\n\n")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description="time pytest sessions with the plugin and without")
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    points = Path(str(metadata.distribution("checkpoint-audit").locate_file(""))) / next(
        str(file) for file in metadata.files("checkpoint-audit") or () if file.name == "entry_points.txt"
    )
    with tempfile.TemporaryDirectory() as home:
        Path(home, "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        os.environ.pop("PYTEST_ADDOPTS", None)
        took: dict[str, list[float]] = {"with the plugin": [], "-p no:audit": [], "not installed": []}
        session(home)
        for _ in range(rounds):
            took["with the plugin"].append(session(home))
            took["-p no:audit"].append(session(home, "-p", "no:audit"))
            with hidden(points):
                took["not installed"].append(session(home))
        print(imported(home))
    for name, seconds in took.items():
        print(f"{name:<16} {1000 * statistics.median(seconds):6.1f} ms, least {1000 * min(seconds):6.1f} ms")


if __name__ == "__main__":
    main()
