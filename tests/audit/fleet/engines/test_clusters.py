"""Ray and Dask, started on this machine: their tables are those of the local engine, also when workers are killed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit.fleet.engines import Engine, Part, engine
from audit.fleet.engines.window import through
from audit.fleet.tasks import Batch, Order, Task
from audit.options import Options
from tests.audit.fleet.conftest import Grow, Pass, age, rows_of

LIBRARIES = {"ray": "ray", "dask": "distributed"}
ORDER = Order(Options(), "basis")


def batch(number: int) -> Batch:
    return Batch(number, (Task(f"/nowhere/{number}", "/", "o", "quick", False, "d", 0, 0, True, 1),))


def test_so_many_batches_are_under_way_and_one_that_is_lost_has_rows_that_say_so(grow: Grow) -> None:
    (run,) = grow("run")
    waiting: list[int] = []
    most = 0

    def submit(given: Batch) -> int:
        nonlocal most
        waiting.append(given.number)
        most = max(most, len(waiting))
        return given.number

    def result(number: int) -> list[object]:
        waiting.remove(number)
        if number == 1:
            raise RuntimeError("the worker died")
        return []

    given = [batch(0), Batch(1, (batch(1).tasks[0]._replace(run=run),)), batch(2), batch(3)]
    parts = dict(through(iter(given), ORDER, 2, submit, lambda pending: pending[0], result))

    assert most == 2
    assert sorted(parts) == [0, 1, 2, 3]
    assert [(item.row.status, item.row.error) for item in parts[1]] == [("failed", "RuntimeError: the worker died")]


@pytest.fixture(params=sorted(LIBRARIES))
def cluster(request: pytest.FixtureRequest) -> Engine:
    pytest.importorskip(LIBRARIES[request.param], reason="the extra of this engine is not installed")
    pytest.importorskip("pyarrow", reason="the extra fleet is not installed")
    return engine(request.param)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_table_is_that_of_the_local_engine(
    cluster: Engine, over: Pass, grow: Grow, store: object, harm: Callable[[str, str], None]
) -> None:
    runs = grow(*(f"run-{number}" for number in range(12)))
    os.unlink(f"{runs[3]}/checkpoint-2/optimizer.pt")
    Path(runs[4], "checkpoint-2", "trainer_state.json").write_text("{")
    for run in runs[3:5]:
        age(run)
    harm("run-5", "once")
    harm("run-6", "always")
    tables = []
    for made in (engine("local"), cluster):
        harm("run-5", "once")
        over(engine=made, workers=2, batch=2, anew=True)
        rows = rows_of(store)  # type: ignore[arg-type]
        tables.append([item._replace(row=item.row._replace(seconds=0, audited=None, number=0)) for item in rows])
    assert tables[0] == tables[1]
    assert [item.row.status for item in tables[0]].count("failed") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_worker_of_the_engine_that_is_killed_loses_no_run(
    cluster: Engine, over: Pass, grow: Grow, store: object
) -> None:
    grow(*(f"run-{number:02}" for number in range(30)))
    killed: list[int] = []

    def killing(batches: Iterator[Batch], order: Order, workers: int) -> Iterator[Part]:
        for number, part in enumerate(cluster(batches, order, workers)):
            if number == 2:
                killed.extend(_kill_workers())
            yield part

    summary = over(engine=killing, workers=2, batch=1)

    assert killed
    assert (summary.runs, summary.verdicts["sound"]) == (30, 30)


def _kill_workers() -> list[int]:
    """End one process that runs tasks: of Ray by its title, of Dask a child that a nanny has started."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or not _is_ours(int(name)):
            continue
        try:
            words = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if (words.startswith(b"ray::") and b"audit_batch" in words) or b"multiprocessing.spawn" in words:
            found.append(int(name))
    for pid in found[:1]:
        os.kill(pid, signal.SIGKILL)
    return found[:1]


def _is_ours(pid: int) -> bool:
    """Whether a process descends from this one."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
    return False
