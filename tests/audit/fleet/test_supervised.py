"""Workers are real processes, and are really killed: what was audited is kept, and every run has a row."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from audit.errors import AuditError
from audit.fleet import supervised
from audit.fleet.rows import AUDITED, FAILED
from audit.fleet.supervised import TRIES, Stopped, Worker, audit_batch, worker
from audit.fleet.tasks import Batch, Order, Task
from audit.options import Options
from tests.audit.fleet.conftest import Grow

Harm = Callable[[str, str], None]


def order(seconds: float = 300.0, **changes: object) -> Order:
    return Order(Options(), "basis", seconds)._replace(**changes)  # type: ignore[arg-type]


def task(run: str) -> Task:
    return Task(run, os.path.dirname(run), "owner", "quick", False, "digest", 0, 0, True, 1)


@pytest.fixture
def own() -> Iterator[Worker]:
    with worker(order()) as made:
        yield made


def test_one_process_audits_run_after_run_and_ends_with_its_owner(own: Worker, grow: Grow, harm: Harm) -> None:
    harm("b", "noise")
    runs = grow("a", "b")
    assert [own.audit(task(run)).row.verdict for run in runs] == ["sound", "sound"]
    pid = own.pid
    assert pid is not None
    own.audit(task(runs[0]))
    assert own.pid == pid

    own.kill()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_run_whose_worker_is_killed_is_audited_by_the_next_and_given_up_after_three(
    own: Worker, grow: Grow, harm: Harm
) -> None:
    harm("a", "once")
    harm("b", "always")
    a, b, c = grow("a", "b", "c")

    rows = [own.audit(task(run)).row for run in (a, b, c)]

    assert [row.status for row in rows] == [AUDITED, FAILED, AUDITED]
    assert rows[1].error == f"its audit ended {TRIES} times without a result (signal 9)"


def test_a_run_has_its_time_and_its_memory(grow: Grow, harm: Harm) -> None:
    harm("a", "sleep")
    harm("b", "memory")
    a, b, c = grow("a", "b", "c")
    with worker(order(2.0, memory=2 << 30)) as own:
        own._started()
        rows = [own.audit(task(run)).row for run in (a, b)]
    with worker(order()) as own:
        last = own.audit(task(c)).row

    assert [row.status for row in (*rows, last)] == [FAILED, FAILED, AUDITED]
    assert "longer than 2 s" in str(rows[0].error)
    assert "out of memory" in str(rows[1].error)


def test_a_worker_that_cannot_start_says_why(own: Worker, grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "_PROGRAM", "raise SystemExit('no module of this name')")
    with pytest.raises(AuditError, match="cannot be started: no module of this name"):
        own.audit(task(grow("a")[0]))


def test_a_worker_that_another_thread_stops_starts_no_other(own: Worker, grow: Grow) -> None:
    (run,) = grow("a")
    own.stop()
    with pytest.raises(Stopped):
        own.audit(task(run))
    assert own.pid is None


def test_a_batch_is_audited_by_one_process_for_each_order(grow: Grow) -> None:
    runs = grow("a", "b")
    batch = Batch(0, tuple(map(task, runs))).document()
    try:
        first = audit_batch(order().document(), batch)
        pid = supervised._own.worker.pid
        audit_batch(order().document(), batch)
        assert supervised._own.worker.pid == pid
        audit_batch(order(basis="other").document(), [*batch[:1], []])
        assert supervised._own.worker.pid is None
    finally:
        supervised._own.worker.kill()
        del supervised._own.worker, supervised._own.order

    assert [row[0][0] for row in first] == runs


@pytest.mark.slow
def test_no_worker_outlives_its_owner_however_that_ends(grow: Grow, harm: Harm) -> None:
    (run,) = grow("a")
    program = (
        "import os, sys; from audit.fleet.supervised import Worker; from tests.audit.fleet.test_supervised import *;"
        "made = Worker(order()); made.audit(task(sys.argv[1])); print(made.pid, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.communicate()

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
