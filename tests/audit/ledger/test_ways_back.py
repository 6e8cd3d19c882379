"""Rows after which a run is at another step, and what is loaded for a ledger that has none."""

import subprocess
import sys

from audit.ledger import back_events, batch_events, events
from audit.ledger.store import Row
from audit.ledger.ways_back import begins_at, going_back_of, leg_of, way_back_of

LEG = batch_events.LegBegun("ab", "a.jsonl", 9, 40, 60, 0, 20, 1, 1, None, 0, 60, None, 1, "checkpoint-40")
BACK = back_events.GoingBack("checkpoint-20", 20, "", ())


def row(event: "events.Event") -> Row:
    kind, content = event.row()
    return Row(1, "2026-11-21T12:00:00Z", kind, content)


def test_a_training_begins_with_a_leg_and_with_a_start() -> None:
    happened: tuple[events.Event, ...] = (LEG, events.Start(7), BACK, events.GuardDecision("checkpoint-3", 3, False))

    assert [begins_at(row(event)) for event in happened] == [40, 7, None, None]


def test_a_way_back_is_what_somebody_decided_and_no_observation() -> None:
    decided = (
        LEG, events.Start(7), BACK, back_events.WentBack(20), events.GuardDecision(None, 0, True),
        events.Quarantined("moved", "checkpoint-9", "", "", 6),
    )  # fmt: skip
    others = (events.Observation(9, "", "", 0, 0, ()), batch_events.Lost("ab", "a.jsonl", 9))

    assert [way_back_of(row(event)) for event in decided] == [40, 7, 20, 20, 0, 6]
    assert [way_back_of(row(event)) for event in others] == [None, None]


def test_a_row_is_the_leg_or_the_act_of_going_back_that_it_records() -> None:
    assert leg_of(row(LEG)) == LEG._replace(rows=None)
    assert going_back_of(row(LEG)) is None
    assert going_back_of(row(BACK)) == BACK
    assert leg_of(row(BACK)) is None
    assert leg_of(row(events.Start(7))) is None


def test_a_ledger_without_rows_of_audit_train_is_read_without_what_they_record() -> None:
    script = """
import sys
from audit.ledger.records import given_up_by, reached_by, batches_in, accepted_in, ended_early_by
from audit.ledger.seals import seals_of
from audit.ledger.store import Row
rows = tuple(Row(n, "2026-11-21T12:00:00Z", kind, {"step": 3}) for n, kind in enumerate(("start", "guard", "scans")))
for read in (given_up_by, reached_by, batches_in, accepted_in, ended_early_by, seals_of):
    read(rows)
print(*(name for name in sys.modules if name.startswith("audit.ledger.") and ("batch_" in name or "push" in name)))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["audit.ledger.batch_row"]
