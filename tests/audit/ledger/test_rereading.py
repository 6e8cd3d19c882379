"""What is sealed and unchanged is read again from time to time: a bit that rots changes no time stamp."""

import os
import time
from itertools import count
from pathlib import Path

import pytest

from audit.api import verify
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.ledger.records import Records, read_records
from audit.ledger.rereading import DAY, due_for_scrub, is_stale, without_scans
from audit.options import Options
from audit.retention.pins import pin
from audit.scan import threads
from audit.testing.runs import make_run
from audit.text import utc_time
from tests.audit.seals import WEIGHTS, broken_seals, flip, sealed, verified

SETTLED = Options(settle_seconds=0)
NAMES = ("checkpoint-100", "checkpoint-200", "checkpoint-300")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A sealed run."""
    path = make_run(tmp_path / "run")
    assert sealed(verified(path)) == [100, 200, 300]
    return path


@pytest.fixture
def rotten(monkeypatch: pytest.MonkeyPatch) -> "type[Rotten]":
    """A disk that gives other bytes of some files than were written, with no time stamp changed."""
    Rotten.files = ()
    read = threads.Pool.run

    def spoiled(self: threads.Pool, count: int) -> object:
        found = read(self, count)
        for key, scan in found.items():
            if key in Rotten.files:
                found[key] = scan._replace(digest="0" * 64)
        return found

    monkeypatch.setattr(threads.Pool, "run", spoiled)
    return Rotten


class Rotten:
    """Keys of the files that rotted: (checkpoint, file)."""

    files: tuple[object, ...] = ()


def records(read: dict[str, float], size: int = 100) -> Records:
    scans = {(name, "a"): (f"2:{size}:0:0:0:x", "text") for name in read}
    return Records(scans={**scans, ("", "judgement"): ("1:x", "text")}, last_read=read)


# -- what is chosen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "days", "stale"),
    [
        (0.0, 7, True),
        (94.0, 7, False),
        (93.0, 7, False),
        (92.9, 7, True),
        (99.9, 0, True),
        (0.0, None, False),
        (102.0, 7, True),
    ],
)
def test_an_old_reading_is_stale_and_one_from_the_future_is_not_believed(
    read: float, days: float | None, stale: bool
) -> None:
    assert is_stale(records({"a": read * DAY}), "a", days, now=100.0 * DAY) is stale
    assert not is_stale(records({"a": read * DAY}), "b", days, now=100.0 * DAY)  # nothing of it is remembered


@pytest.mark.parametrize(("share", "due"), [(0.0, ""), (0.01, "c"), (0.34, "ca"), (0.67, "cab"), (1.0, "cab")])
def test_a_share_is_whole_checkpoints_those_read_longest_ago_first(share: float, due: str) -> None:
    known = records({"a": 2.0, "b": 3.0, "c": 1.0})

    assert due_for_scrub(known, share) == frozenset(due)
    assert {name for name, _ in without_scans(known, frozenset("ca")).scans} == {"b"}
    assert without_scans(known, frozenset()) is known


def test_stamps_of_any_shape_do_no_harm() -> None:
    odd = Records(
        scans={
            (str(place), "a"): (stamp, "") for place, stamp in enumerate(("", "2", "2:x", "2:-1:", "2:" + "9" * 400))
        }
    )

    assert due_for_scrub(odd, 0.5) <= {str(place) for place in range(5)}


# -- rot ---------------------------------------------------------------------------------------------------------------


def test_repeated_scrubs_get_round_to_every_checkpoint(
    run: str, rotten: type[Rotten], monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = count(1)  # the ledger keeps whole seconds, and the scrubs of this test are faster than that
    monkeypatch.setattr(
        "audit.judging.recording.utc_time",
        lambda seconds=None: utc_time(time.time() + 3600 * next(hours) if seconds is None else seconds),
    )
    for name in NAMES:
        rotten.files = ((name, WEIGHTS),)
        assert verified(run).findings == ()  # nothing shows it

    found = ["none"]
    for name in NAMES:
        rotten.files = ((name, WEIGHTS),)
        while found[-1] != name:  # the others are sound, and read in their turn
            found += [str(checkpoint) for checkpoint, _ in broken_seals(verified(run, scrub=0.1))] or ["none"]
            assert len(found) < 12


def test_what_the_guard_hands_out_is_read_again_within_the_stated_age(run: str, rotten: type[Rotten]) -> None:
    rotten.files = (("checkpoint-300", WEIGHTS),)

    assert consult(run, options=SETTLED).decision.checkpoint == "checkpoint-300"  # read a moment ago
    decision, report = consult(run, Limits(max_age_days=0), SETTLED)

    assert decision.checkpoint == "checkpoint-200"
    assert broken_seals(report) == [("checkpoint-300", WEIGHTS)]
    assert consult(run, Limits(max_age_days=None), SETTLED).decision.checkpoint == "checkpoint-200"  # known by now


def test_what_was_read_again_counts_from_then_on(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_records(run, write=False)[0].last_read["checkpoint-300"]
    later = before + 10 * DAY
    monkeypatch.setattr("audit.ledger.rereading.time.time", lambda: later)
    monkeypatch.setattr(
        "audit.judging.recording.utc_time", lambda seconds=None: utc_time(later if seconds is None else seconds)
    )

    decision, report = consult(run, options=SETTLED)

    assert decision.checkpoint == "checkpoint-300"
    assert report.bytes_read > Path(run, "checkpoint-300", WEIGHTS).stat().st_size
    known = read_records(run, write=False)[0].last_read
    assert (known["checkpoint-300"], known["checkpoint-200"]) == (later, before)


# -- a change that puts the mtime back ---------------------------------------------------------------------------------


def test_a_byte_changed_with_the_mtime_put_back_is_found_by_default(run: str) -> None:
    flip(f"{run}/checkpoint-300/{WEIGHTS}")

    assert broken_seals(verified(run)) == [("checkpoint-300", WEIGHTS)]
    assert consult(run, options=SETTLED).decision.checkpoint == "checkpoint-200"


def test_a_pin_costs_no_second_reading(run: str) -> None:
    quick = verified(run).bytes_read
    for name in ("checkpoint-200", "checkpoint-300"):
        pin(run, name)

        assert verified(run).bytes_read <= quick


def test_a_byte_changed_before_a_pin_is_made_is_still_found(run: str) -> None:
    flip(f"{run}/checkpoint-300/{WEIGHTS}")
    pin(run, "checkpoint-300")

    assert broken_seals(verified(run)) == [("checkpoint-300", WEIGHTS)]


def test_a_byte_changed_in_a_pinned_checkpoint_is_found(run: str) -> None:
    pin(run, "checkpoint-300")
    flip(f"{run}/checkpoint-300/{WEIGHTS}")

    assert broken_seals(verified(run)) == [("checkpoint-300", WEIGHTS)]


def test_another_hard_link_is_read_once_more_and_then_known(run: str) -> None:
    known = verify(run, SETTLED).bytes_read
    os.link(f"{run}/checkpoint-300/{WEIGHTS}", f"{run}/link")

    once, then = verify(run, SETTLED), verify(run, SETTLED)

    assert (once.findings, then.findings) == ((), ())
    assert once.bytes_read > known >= then.bytes_read
