"""The process that trains one leg: it sends one message a line, and does not outlive whoever reads them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.backend.training import LegData, LegFailed, LegRequest, LegResult, Step
from audit.training.messages import read_message
from tests.audit.training.toy import write_rows

ROOT = Path(__file__).parents[3]
START = """
import sys, time
from types import SimpleNamespace
from audit.hookspecs import hookimpl
from audit.manager import load
from audit.training import child
from tests.audit.training.toy import Toy

@hookimpl
def audit_training_backends():
    return [Toy(tick)]

def tick(what):
    {tick}

child.load = lambda: load([SimpleNamespace(audit_training_backends=audit_training_backends)])
child.main(int(sys.argv[1]))
"""


class Child:
    """A child in a process of its own; ``lines`` reads what it sends until it ends."""

    def __init__(self, request: LegRequest, parent: int, tick: str = "pass") -> None:
        self.reading, writing = os.pipe()
        rooms = os.pathsep.join(map(str, (ROOT, ROOT / "backends", ROOT / "plugins")))
        self.process = subprocess.Popen(
            [sys.executable, "-c", START.format(tick=tick), str(writing)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[writing],
            env={**os.environ, "PYTHONPATH": rooms},
        )
        os.close(writing)
        assert self.process.stdin is not None
        fields = {**request._asdict(), "data": request.data._asdict()}
        self.process.stdin.write(json.dumps({"backend": "toy", "parent": parent, "request": fields}).encode())
        self.process.stdin.close()

    def lines(self) -> list[bytes]:
        with os.fdopen(self.reading, "rb") as pipe:
            return pipe.readlines()

    def code(self) -> int:
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.wait(20)


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., LegRequest]:
    def make(last: int = 2, **toy: object) -> LegRequest:
        data = LegData(str(write_rows(tmp_path / "a.jsonl", list(range(2 * last)))))
        (tmp_path / "run").mkdir()
        return LegRequest(str(tmp_path / "run"), None, 0, last, data, {"toy": toy})

    return make


def test_it_sends_each_step_and_then_the_result(request_of: Callable[..., LegRequest]) -> None:
    child = Child(request_of(), os.getpid())
    assert [read_message(line) for line in child.lines()] == [
        Step(1, loss=2.0),
        Step(2, loss=1.0),
        LegResult(0, 2, ((1, 2.0), (2, 1.0))),
    ]
    assert child.code() == 0


def test_an_error_is_a_message_and_no_crash(request_of: Callable[..., LegRequest]) -> None:
    child = Child(request_of(fail="it burns"), os.getpid())
    last = read_message(child.lines()[-1])
    assert isinstance(last, LegFailed)
    assert (last.reason, last.step, child.code()) == ("it burns", 2, 0)


def test_whose_parent_is_another_process_by_now_trains_nothing(
    request_of: Callable[..., LegRequest], tmp_path: Path
) -> None:
    child = Child(request_of(), os.getpid() + 1)
    assert child.lines() == []
    assert child.code() == 1
    assert list((tmp_path / "run").iterdir()) == []


def test_it_ends_where_nobody_reads_any_more(request_of: Callable[..., LegRequest], tmp_path: Path) -> None:
    child = Child(request_of(last=400, save_steps=1), os.getpid(), tick="time.sleep(0.02)")
    os.read(child.reading, 1)
    os.close(child.reading)
    assert child.code() == 1
    assert not (tmp_path / "run" / "checkpoint-400").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_it_ends_with_its_parent(request_of: Callable[..., LegRequest], tmp_path: Path) -> None:
    middle = f"""
import os, sys, time
sys.path[:0] = {[str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")]!r}
from audit.backend.training import LegData, LegRequest
from tests.audit.training.test_child import Child
values = {request_of(last=400)._asdict()!r}
child = Child(LegRequest(**values), os.getpid(), tick="time.sleep(0.02)")
os.read(child.reading, 1)
print(child.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", middle], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        time.sleep(0.05)
    pytest.fail("it trains on")
