"""Put the tables together: the rows of the parts, and for every other run the one that was there before."""

from collections.abc import Iterator
from typing import Any

from audit.fleet.one_run import failed
from audit.fleet.rows import FAILED, Audited, InOrder, RunRow, order, shown
from audit.fleet.store import Store
from audit.fleet.tasks import Order, Task


def gathered(store: Store, id_: str, judging: Order) -> Iterator[Audited]:
    """Return the rows of all runs that the pass has listed, in order; one without a row gets one that says so."""
    known = InOrder(store.table.audited(), lambda item: item.row.run)
    number, part = -1, dict[str, Audited]()
    for line in store.lines():
        if "row" in line:
            yield Audited.read(line["row"])
            continue
        run = shown(line["run"])
        if "batch" not in line:
            yield known.find(run) or _lost(run)
            continue
        if line["batch"] != number:
            number = line["batch"]
            part = {item.row.run: item for item in store.part(number, id_) or ()}
        found = part.get(run)
        yield found or failed(Task(*line["task"]), judging, f"part {number} of the pass has no row of it")


def _lost(run: str) -> Audited:
    return Audited(RunRow(run, "", "", FAILED, error="its row is no longer in the table; audit it again"))


def rescued(store: Store, id_: str) -> Iterator[Audited]:
    """Return the rows of the table with those of an unfinished pass in their places, in order."""
    known = store.table.audited()
    old = next(known, None)
    for found in (item for number in store.part_numbers() for item in store.part(number, id_) or ()):
        while old is not None and order(old.row.run) < order(found.row.run):
            yield old
            old = next(known, None)
        if old is not None and old.row.run == found.row.run:
            old = next(known, None)
        yield found
    while old is not None:
        yield old
        old = next(known, None)


def missing(store: Store, plan: dict[str, Any]) -> list[int]:
    """Return the numbers of the batches of a pass that have no part, in order."""
    there = set(store.part_numbers())
    return [number for number in range(plan["batches"]) if number not in there]
