"""What rows of the ledger tell of pruning and snapshots, also rows that nobody of us wrote."""

from typing import Any

from audit.ledger.records import pruned_of, reached_by
from audit.ledger.store import Row


def row(kind: str, **content: Any) -> Row:
    return Row(1, "2026-11-21T12:00:00Z", kind, content)


def test_the_steps_that_were_pruned_are_known() -> None:
    assert pruned_of((row("pruned", pruned=100), row("seal", pruned=200), row("pruned", pruned=300))) == {100, 300}


def test_rows_of_another_shape_tell_nothing() -> None:
    rows = (row("pruned"), row("pruned", pruned="100"), row("pruned", pruned=True), row("pruned", pruned=[1]))
    assert pruned_of(rows) == frozenset()


def test_pruning_is_no_way_back() -> None:
    assert reached_by((row("observation", step=300), row("pruned", pruned=100, step=100))) == 300
