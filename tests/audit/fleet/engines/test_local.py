"""The engine of this machine: several real processes, some of which are killed."""

import os
from collections.abc import Callable, Iterator

import pytest

from audit.errors import AuditError
from audit.fleet import supervised
from audit.fleet.engines import NAMES, engine
from audit.fleet.engines.local import audit
from audit.fleet.rows import Audited
from audit.fleet.tasks import Batch, Order, Task
from audit.options import Options
from tests.audit.fleet.conftest import Grow

ORDER = Order(Options(), "basis")


def batches(runs: list[str]) -> list[Batch]:
    tasks = [Task(run, os.path.dirname(run), "o", "quick", False, "d", 0, 0, True, 1) for run in runs]
    return [Batch(number, (task,)) for number, task in enumerate(tasks)]


def test_killed_workers_lose_no_run(grow: Grow, harm: Callable[[str, str], None]) -> None:
    runs = grow(*"abcdef")
    harm("b", "once")
    harm("d", "once")
    harm("e", "always")

    parts: dict[int, list[Audited]] = dict(audit(iter(batches(runs)), ORDER, 2))

    assert sorted(parts) == list(range(6))
    assert [row.row.run for number in sorted(parts) for row in parts[number]] == runs
    assert [parts[number][0].row.status for number in range(6)] == ["audited"] * 4 + ["failed", "audited"]


@pytest.mark.slow
def test_no_more_batches_are_taken_than_are_worked_on(grow: Grow) -> None:
    runs = grow(*"abcdefgh")
    taken: list[int] = []

    def noted() -> Iterator[Batch]:
        for batch in batches(runs):
            taken.append(batch.number)
            yield batch

    parts = audit(noted(), ORDER, 1)
    next(parts)
    assert len(taken) <= 5
    parts.close()  # type: ignore[attr-defined]
    assert len(taken) <= 6


def test_what_keeps_a_worker_from_starting_ends_the_pass(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "_PROGRAM", "raise SystemExit('broken')")
    with pytest.raises(AuditError, match="broken"):
        list(audit(iter(batches(grow("a", "b"))), ORDER, 2))


@pytest.mark.parametrize("name", NAMES[1:])
def test_an_engine_without_its_library_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in ("ray", "distributed", f"audit.fleet.engines.{name}"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AuditError, match=rf"pip install \"checkpoint-audit\[{name}\]\""):
        engine(name)
