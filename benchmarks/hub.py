"""Requests, bytes and seconds of each ``audit hub`` operation, against the Hub of the tests on this machine.

    pip install "checkpoint-audit[hub]" pytest
    python benchmarks/hub.py             # --large 200: megabytes of the larger checkpoint; --xet; --rounds 3

Each operation is a command of its own: the start of Python and of the client is in its seconds. Bytes are the bodies of
requests and of answers, as the server counts them. With xet what goes into the file store is not counted: the store is
a directory here.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from audit.testing.runs import make_run
from tests.plugins.audit_hub import server
from tests.plugins.audit_hub.conftest import Desk

STEPS = (100, 200)
RANK_OF_A_MEGABYTE = 1_000_000 // 1536  # two layers, two matrices of each, 16 wide, with two moments: 1536 bytes a rank
REPO = "me/lora"
NAMES = ("--repo", "{user}/lora", "--folder", "checkpoint-{step}")


class Counted(NamedTuple):
    """What an operation took: requests by method, bytes of bodies to the Hub and from it, seconds."""

    methods: Counter[str]
    sent: int
    received: int
    seconds: float


class Counting(server.Handler):
    """Counts the bytes of bodies, for one hub after the other."""

    sent = received = 0

    def _body(self) -> bytes:
        body = super()._body()
        Counting.sent += len(body)
        return body

    def send_bytes(self, status: int, data: bytes, headers: dict[str, str], length: int | None = None) -> None:
        if self.command != "HEAD":
            Counting.received += len(data)
        super().send_bytes(status, data, headers, length)


def counted(desk: Desk, *arguments: str) -> Counted:
    """Run one command, which has to succeed."""
    desk.hub.requests.clear()
    Counting.sent = Counting.received = 0
    begin = time.perf_counter()
    ended = desk(*arguments)
    seconds = time.perf_counter() - begin
    if ended.code:
        raise SystemExit(f"audit hub {' '.join(arguments)}: {ended.said}")
    return Counted(Counter(method for method, _ in desk.hub.requests), Counting.sent, Counting.received, seconds)


def operations(desk: Desk) -> dict[str, Counted]:
    """Each operation once, in the order in which they follow on each other."""
    push = ("push", "run", *NAMES, "--checkpoint")
    return {
        "push, a new repository": counted(desk, *push, str(STEPS[0])),
        "push, the next checkpoint": counted(desk, *push, str(STEPS[1])),
        "push, nothing new": counted(desk, *push, str(STEPS[1])),
        "list": counted(desk, "list", "run"),
        "verify": counted(desk, "verify", REPO, "--checkpoint", str(STEPS[1])),
        "verify --depth full": counted(desk, "verify", REPO, "--checkpoint", str(STEPS[1]), "--depth", "full"),
        "pull": counted(desk, "pull", REPO, "pulled", "--checkpoint", str(STEPS[1])),
        "prune --keep 1": counted(desk, "prune", "run", "--keep", "1"),
    }


def measured(megabytes: int, xet: bool) -> tuple[int, int, dict[str, Counted]]:
    """Return files and bytes of a checkpoint, and what each operation took."""
    with tempfile.TemporaryDirectory() as place, server.serving(Path(place, "hub"), xet) as hub:
        home = Path(place, "home")
        home.mkdir()
        desk = Desk(home, hub)
        shutil.rmtree(desk.run)  # another run is measured
        if megabytes:
            make_run(home / "run", STEPS, rank=megabytes * RANK_OF_A_MEGABYTE)
        else:
            make_run(home / "run", STEPS)
        sizes = [path.stat().st_size for path in Path(home, "run", f"checkpoint-{STEPS[1]}").iterdir()]
        return len(sizes), sum(sizes), operations(desk)


def rows(rounds: list[dict[str, Counted]]) -> list[list[Any]]:
    made = []
    for name, first in rounds[0].items():
        spans = [found[name].seconds for found in rounds]
        methods = ", ".join(f"{count} {method}" for method, count in sorted(first.methods.items()))
        many = {sum(found[name].methods.values()) for found in rounds}
        count = f"{min(many)}" if len(many) == 1 else f"{min(many)} to {max(many)}"
        made.append([name, count, methods or "none", f"{first.sent:,}", f"{first.received:,}", f"{median(spans):.2f}"])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=200, metavar="MB", help="the larger checkpoint (default: 200)")
    parser.add_argument("--rounds", type=int, default=3, help="times of everything; medians of seconds (default: 3)")
    parser.add_argument("--xet", action="store_true", help="with the file store of hf_xet")
    given = parser.parse_args()
    places = [str(Path(__file__).parents[1] / place) for place in (".", "backends", "plugins")]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)  # the commands are those of this checkout
    server.Handler = Counting  # type: ignore[misc]  # what is served is a subclass of it
    for megabytes in (0, given.large):
        found = [measured(megabytes, given.xet) for _ in range(given.rounds)]
        files, size, _ = found[0]
        print(f"\n{files} files, {size / 1e6:,.3f} MB{', xet' if given.xet else ''}\n")
        print(
            "| operation | requests | of them | bytes sent | bytes received | s |\n| --- | --- | --- | --- | --- | --- |"
        )
        for row in rows([taken for _, _, taken in found]):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
