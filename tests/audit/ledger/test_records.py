"""What the rows of a ledger tell when an audit begins, also rows that nobody of us wrote."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audit.ledger.back_events import GoingBack
from audit.ledger.batch_events import Failed, Finished, LegBegun, Rejected, Retired, Stopped
from audit.ledger.events import (
    Accepted,
    BaseSealed,
    GuardDecision,
    Observation,
    Pruned,
    Quarantined,
    Rehearsed,
    ScansRemembered,
    SealedFile,
    SealTaken,
    SnapshotTaken,
    Start,
)
from audit.ledger.records import (
    Records,
    accepted_in,
    base_in,
    elsewhere_by,
    ended_early_by,
    given_up_by,
    last_read_by,
    pruned_of,
    quarantined_by,
    reached_by,
    read_records,
    vouched,
)
from audit.ledger.store import Row, open_ledger, scans_digest
from tests.audit.batch_rows import append, event, leg

if TYPE_CHECKING:
    from audit.ledger.events import Event

TIME = "2026-11-21T12:00:00Z"
FILES = {"model.safetensors": SealedFile(16, "0" * 64)}


def row(kind: str, **content: Any) -> Row:
    return Row(1, TIME, kind, content)


def rows(*happened: "Event", time: str = TIME) -> tuple[Row, ...]:
    """As they are read again, with lists for tuples."""
    written = (event.row() for event in happened)
    return tuple(Row(1, time, kind, json.loads(json.dumps(content))) for kind, content in written)


def saw(step: int | None, *steps: int) -> Observation:
    return Observation(step, "sound", "full", 0, 0, [f"checkpoint-{found}" for found in steps])


def begun(step: int) -> LegBegun:
    return LegBegun("ab", "a.jsonl", 9, step, None, 0, None, None, 1, None, 0, None, None, 1, None)


def back(step: int) -> GoingBack:
    return GoingBack(f"checkpoint-{step}", step, "", ())


def seal(step: int) -> SealTaken:
    return SealTaken(f"checkpoint-{step}", step, 1, FILES)


def stopped(step: int | None) -> Stopped:
    return Stopped("ab", "a.jsonl", step, 15, ())


def failed(step: int | None) -> Failed:
    return Failed("ab", "a.jsonl", step, "error", "boom")


def finished(step: int | None) -> Finished:
    return Finished("ab", "a.jsonl", 0, step, None, "", (), 1.0)


# -- Pruned and quarantined -------------------------------------------------------------------------------------------


def test_the_steps_that_were_pruned_are_known() -> None:
    assert pruned_of((row("pruned", pruned=100), row("seal", pruned=200), row("pruned", pruned=300))) == {100, 300}


def test_rows_of_another_shape_tell_nothing() -> None:
    strange = (row("pruned"), row("pruned", pruned="100"), row("pruned", pruned=True), row("pruned", pruned=[1]))
    assert pruned_of(strange) == frozenset()


def test_what_was_moved_into_quarantine_is_there_until_it_is_moved_back() -> None:
    def act(action: str, name: str) -> Quarantined:
        return Quarantined(action, name, "", "", None)

    moved = (act("moved", "checkpoint-100"), act("moved", "checkpoint-200"), act("moved", "notes"))

    assert quarantined_by(rows(saw(300), *moved)) == {100, 200}
    assert quarantined_by(rows(*moved, act("restored", "checkpoint-100"))) == {200}
    assert quarantined_by(rows(act("failed", "checkpoint-100"))) == frozenset()


# -- How far the run came ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happened", "reached"),
    [
        ((saw(100), saw(300), saw(200)), 300),
        ((saw(None), saw(None)), 0),
        ((begun(0), stopped(None)), 0),
        ((finished(200), finished(None)), 200),
        ((saw(100), finished(200), saw(100)), 200),
        ((saw(300), stopped(400), finished(200)), 300),  # of a leg that ended early nothing is proven
        ((saw(300), GuardDecision("checkpoint-100", 100, False)), 100),
        ((saw(300), GuardDecision(None, 0, True), saw(100)), 100),
        ((saw(300), Quarantined("moved", "checkpoint-300", "", "", 200)), 200),
        ((saw(300), Quarantined("moved", "checkpoint-300", "", "", None)), 300),
        ((saw(300), begun(200)), 200),
    ],
)
def test_the_step_is_raised_by_what_was_seen_and_set_by_a_way_back(happened: "tuple[Event, ...]", reached: int) -> None:
    assert reached_by(rows(*happened)) == reached


def test_pruning_is_no_way_back() -> None:
    assert reached_by((row("observation", step=300), row("pruned", pruned=100, step=100))) == 300


def gone(step: int, left: int | None) -> Pruned:
    return Pruned(f"checkpoint-{step}", step, 9, left, "me/x")


def test_a_newest_checkpoint_that_was_removed_on_purpose_was_reached_and_is_not_missed_here() -> None:
    both = rows(saw(300, 100, 200, 300), gone(300, 200), gone(100, None))
    assert (reached_by(both), reached_by(both, here=True)) == (300, 200)
    again = rows(saw(300, 200, 300), gone(300, 200), saw(300, 200, 300))
    assert reached_by(again, here=True) == 300


@pytest.mark.parametrize(
    ("then", "known"),
    [
        ((), {"checkpoint-300": (300, "me/x")}),
        ((saw(200, 100, 200), GuardDecision("checkpoint-200", 200, False)), {"checkpoint-300": (300, "me/x")}),
        ((saw(300, 200, 300),), {}),
        ((begun(200),), {}),
        ((Start(200),), {}),
        ((back(100),), {}),
        ((begun(300),), {"checkpoint-300": (300, "me/x")}),
    ],
)
def test_it_is_known_where_it_is_until_it_is_back_or_given_up(then: "tuple[Event, ...]", known: object) -> None:
    assert elsewhere_by(rows(saw(300, 200, 300), gone(300, 200), *then)) == known
    assert elsewhere_by(rows(Pruned("checkpoint-300", 300, 9), *then)) == {}


def test_checkpoints_of_a_history_that_was_given_up_do_not_raise_the_step_when_they_are_seen_again() -> None:
    before = (saw(300, 100, 200, 300), Start(100))

    assert reached_by(rows(*before, saw(300, 100, 200, 300))) == 100
    assert reached_by(rows(*before, saw(300, 100, 200, 300), saw(200, 100, 200))) == 100
    assert reached_by(rows(*before, saw(250, 100, 200, 250, 300))) == 250  # it is a new one


def test_once_they_are_gone_a_checkpoint_of_the_same_step_is_another_one() -> None:
    assert reached_by(rows(saw(300, 100, 300), Start(100), saw(200, 100, 200), saw(300, 100, 200, 300))) == 300


def test_what_the_guard_hands_out_gives_up_nothing_before_a_training_begins_there() -> None:
    assert reached_by(rows(saw(300, 100, 300), GuardDecision("checkpoint-100", 100, False), saw(300, 100, 300))) == 300


def test_a_save_that_went_on_while_the_guard_looked_is_not_given_up() -> None:
    assert reached_by(rows(saw(200, 100, 200, 300), Start(100), saw(300, 100, 200, 300))) == 300
    assert reached_by(rows(saw(None, 1), Start(0), saw(1, 1))) == 1


# -- Legs that ended early --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", [stopped(250), failed(250)])
def test_the_step_at_which_the_last_leg_ended_early_is_known_until_something_is_begun(ended: "Event") -> None:
    assert ended_early_by(rows(begun(0), ended)) == 250
    assert ended_early_by(rows(begun(0), ended, begun(200))) == 0
    assert ended_early_by(rows(begun(0), ended, GuardDecision("checkpoint-200", 200, False))) == 0
    assert ended_early_by(rows(begun(0), ended, saw(200))) == 250


@pytest.mark.parametrize("then", [Rejected("cd", "b.jsonl", "no JSON"), Retired("cd", "b.jsonl", None)])
def test_a_file_that_is_moved_begins_nothing(then: "Event") -> None:
    assert ended_early_by(rows(begun(0), stopped(250), then)) == 250


def test_a_leg_that_came_to_its_end_or_to_no_step_did_not_end_early() -> None:
    assert ended_early_by(rows(begun(0), finished(300))) == 0
    assert ended_early_by(rows(begun(0), failed(None))) == 0
    assert ended_early_by(rows(saw(300))) == 0


# -- Scans ------------------------------------------------------------------------------------------------------------


def test_a_remembered_scan_is_believed_if_the_newest_row_about_its_checkpoint_has_its_digest() -> None:
    old, new = {"a.bin": ("stamp", "{}")}, {"a.bin": ("other", "{}"), "b.bin": ("stamp", "{}")}
    scans = {("checkpoint-1", file): scan for file, scan in new.items()}
    told = ScansRemembered("checkpoint-1", scans_digest(new))

    assert vouched(rows(ScansRemembered("checkpoint-1", scans_digest(old)), told), scans) == scans
    assert vouched(rows(told, ScansRemembered("checkpoint-1", scans_digest(old))), scans) == {}
    assert vouched(rows(ScansRemembered("checkpoint-2", scans_digest(new))), scans) == {}


def test_one_scan_that_is_not_believed_takes_no_other_checkpoint_with_it() -> None:
    good = {"a.bin": ("stamp", "{}")}
    scans = {("checkpoint-1", "a.bin"): ("stamp", "{}"), ("checkpoint-2", "a.bin"): ("made up", "{}")}
    told = rows(*(ScansRemembered(name, scans_digest(good)) for name in ("checkpoint-1", "checkpoint-2")))

    assert set(vouched(told, scans)) == {("checkpoint-1", "a.bin")}


def test_when_all_was_read_is_said_by_the_row_or_is_the_time_of_the_row() -> None:
    told = rows(
        ScansRemembered("checkpoint-1", "", "1970-01-01T00:01:00Z"),
        ScansRemembered("checkpoint-2", "", "1970-01-01T00:01:00Z"),
        ScansRemembered("checkpoint-2", "", "1970-01-01T00:02:00Z"),
        ScansRemembered("checkpoint-3", "", "yesterday"),
    )
    older = rows(ScansRemembered("checkpoint-4", ""), time="1970-01-01T00:03:00Z")

    assert last_read_by((*told, *older)) == {"checkpoint-1": 60.0, "checkpoint-2": 120.0, "checkpoint-4": 180.0}


# -- The base, accepted findings --------------------------------------------------------------------------------------


def test_of_a_base_that_was_recorded_again_the_last_counts() -> None:
    newer = {"model.safetensors": SealedFile(17, "1" * 64)}

    assert base_in(rows(BaseSealed(FILES), BaseSealed(newer), saw(100))) == newer
    assert base_in(rows(saw(100))) is None


@pytest.mark.parametrize("again", [back(100), begun(100)])
def test_what_was_accepted_holds_up_to_the_step_from_which_the_run_goes_on(again: "Event") -> None:
    at_100, at_101 = Accepted("loss/jump", None, 100, "known"), Accepted("loss/jump", None, 101, "known")
    of_100 = Accepted("weights/outlier", "checkpoint-100", None, "known")
    of_200 = Accepted("weights/outlier", "checkpoint-200", None, "known")

    accepted = rows(at_100, at_101, of_100, of_200)

    assert accepted_in(rows(again) + accepted) == (at_100, at_101, of_100, of_200)
    assert accepted_in(accepted + rows(again)) == (at_100, of_100)


def test_what_was_accepted_of_the_run_as_a_whole_holds_though_it_begins_anew() -> None:
    whole, last = Accepted("steps/reset", None, None, "known"), Accepted("steps/reset", None, 1, "known")

    assert accepted_in(rows(whole, last, saw(300), stopped(300), begun(0))) == (whole,)


# -- Given up ---------------------------------------------------------------------------------------------------------

SEALED = (seal(10), seal(20), seal(30))


def test_going_back_gives_up_what_was_sealed_after_it() -> None:
    given_up = {"checkpoint-20": "checkpoint-10", "checkpoint-30": "checkpoint-10"}

    assert given_up_by(rows(*SEALED)) == {}
    assert given_up_by(rows(*SEALED, back(10))) == given_up
    assert given_up_by(rows(*SEALED, back(10), begun(10), saw(20))) == given_up


def test_sealed_again_it_is_another_one() -> None:
    happened = (*SEALED, back(10), begun(10), seal(20))

    assert given_up_by(rows(*happened)) == {"checkpoint-30": "checkpoint-10"}


def test_until_a_leg_begins_going_forward_takes_it_back() -> None:
    assert given_up_by(rows(*SEALED, back(10), back(20))) == {"checkpoint-30": "checkpoint-10"}
    assert given_up_by(rows(*SEALED, back(10), back(30))) == {}


def test_once_a_leg_began_going_forward_takes_back_that_one_checkpoint_alone() -> None:
    assert given_up_by(rows(*SEALED, back(10), begun(10), back(30))) == {"checkpoint-20": "checkpoint-10"}


def test_a_second_way_back_gives_up_what_the_first_had_kept() -> None:
    assert given_up_by(rows(*SEALED, back(20), begun(20), seal(25), back(10))) == {
        "checkpoint-20": "checkpoint-10",
        "checkpoint-25": "checkpoint-10",
        "checkpoint-30": "checkpoint-20",
    }


def test_a_seal_that_is_younger_than_the_way_back_is_of_a_copy_and_not_given_up() -> None:
    younger = rows(seal(20), time="2026-11-22T12:00:00Z")

    assert given_up_by(younger + rows(back(10))) == {}


# -- All of it --------------------------------------------------------------------------------------------------------


def write(run: str, *happened: "Event") -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    for item in happened:
        ledger.append(item)
    ledger.close()


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(tmp_path)


def test_a_run_without_a_ledger_has_empty_records(run: str) -> None:
    records, ledger = read_records(run, write=False)

    assert (records, ledger) == (Records(), None)
    assert (records.highest_reached, records.observed, records.ended_early_at, records.highest_ever) == (0, 0, 0, 0)
    assert not records.snapshot
    assert os.listdir(run) == []
    assert read_records(os.path.join(run, "nowhere"), write=True) == (Records(), None)


def test_what_verifications_saw_is_counted_and_the_highest_step_is_never_forgotten(run: str) -> None:
    write(run, saw(None), saw(300, 300), Start(100), saw(200, 200))

    records, ledger = read_records(run, write=False)

    assert (records.observed, records.highest_ever, records.highest_reached, ledger) == (3, 300, 200, None)
    assert not records.snapshot


def test_the_newest_rehearsal_of_a_checkpoint_and_the_mark_of_a_copy_are_known(run: str) -> None:
    bad, good = (Rehearsed("checkpoint-10", 10, 3, same, False, "0" * 64) for same in (False, True))
    write(run, SnapshotTaken("checkpoint-10", "elsewhere", "copy"), bad, good)

    records, _ = read_records(run, write=False)

    assert records.snapshot
    assert records.rehearsed == {"checkpoint-10": good}


def test_the_batches_of_a_training_are_known(run: str) -> None:
    append(run, ("batch", leg("monday", 0, 30)), ("batch", event("stopped", "monday", step=20, signal=15)))

    records, _ = read_records(run, write=False)

    assert [batch.file for batch in records.batches.batches] == ["monday.jsonl"]
    assert records.ended_early_at == 20


def test_who_asks_to_write_gets_the_ledger_and_the_records_of_what_is_in_it(run: str) -> None:
    write(run, saw(100, 100))

    records, ledger = read_records(run, write=True)

    assert ledger is not None
    ledger.append(saw(200, 200))
    ledger.close()
    assert (records.highest_reached, records.unwritable) == (100, None)
    assert read_records(run, write=False)[0].highest_reached == 200


def test_a_ledger_in_which_rows_cannot_be_read_is_unusable_and_closed(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, saw(100, 100))
    monkeypatch.setattr("audit.ledger.store.MOST", 0)

    records, ledger = read_records(run, write=True)

    assert (records.highest_reached, ledger) == (0, None)
    assert records.unusable is not None
    assert "is larger than a ledger can be" in records.unusable


def test_a_ledger_that_is_none_is_unusable_and_nothing_is_raised(run: str) -> None:
    os.mkdir(os.path.join(run, ".audit"))
    Path(run, ".audit", "ledger.db").write_bytes(b"no database at all")

    for asked in (True, False):
        records, ledger = read_records(run, asked)
        assert ledger is None
        assert "is not an SQLite database" in (records.unusable or "")


def test_a_ledger_that_cannot_be_written_is_read_and_not_handed_out(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, saw(None))
    monkeypatch.setattr("audit.ledger.store.open_ledger", lambda run, write: open_ledger(run, False))

    records, ledger = read_records(run, write=True)

    assert ledger is None
    assert (records.observed, records.highest_ever) == (1, 0)
    assert "ledger.db: cannot be written" in (records.unwritable or "")


def test_without_a_verification_nothing_was_seen(run: str) -> None:
    write(run, Start(100))

    records, _ = read_records(run, write=False)

    assert (records.observed, records.highest_ever, records.highest_reached) == (0, 0, 100)
