"""Seals as values: what rows mean, what a remembered scan must look like, lines of checksum files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger.events import SealedFile, SealTaken
from audit.ledger.scans import linked, scan_from, scan_text, stamp_of
from audit.ledger.seals import checksum_line, seals_of
from audit.ledger.store import Row
from audit.scan import FileScan, Span, SpanScan
from audit.storage import FILE, Entry
from audit.testing.runs import make_run
from tests.audit.batch_rows import leg, tell
from tests.audit.seals import WEIGHTS, broken_seals, flip, verified

SPANS = [Span("a", 0, 8, "F32", None), Span("b", 8, 8, None, 5)]
SCAN = FileScan(
    "0" * 64,
    16,
    16,
    {
        "a": SpanScan(False, True, False, 1.5, 0, 0, None, True),
        "b": SpanScan(False, False, True, 0.0, 8, 8, 5, True),
    },
    None,
)


def row(kind: str = "seal", **changes: Any) -> Row:
    _, content = SealTaken("checkpoint-1", 1, 99, {"x": SealedFile(SCAN.size, SCAN.digest)}).row()
    return Row(1, "2026-01-01T00:00:00Z", kind, json.loads(json.dumps({**content, **changes})))


def test_a_row_is_a_seal() -> None:
    (seal,) = seals_of([row()]).values()

    assert (seal.checkpoint, seal.step, seal.newest) == ("checkpoint-1", 1, 99)
    assert seal.files == {"x": SealedFile(16, "0" * 64)}


def test_the_newest_seal_counts_and_one_without_files_takes_it_back() -> None:
    newer = row(files={"y": [1, "1" * 64]})

    assert list(seals_of([row(), newer])["checkpoint-1"].files) == ["y"]
    assert seals_of([row(), row(files=None, revoked=True)]) == {}
    assert seals_of([row("observation")]) == {}


@pytest.mark.parametrize(("first", "passed"), [(0, True), (1, False), (2, False)])
def test_a_leg_that_begins_before_its_step_later_on_passes_it(first: int, passed: bool) -> None:
    begun = row("batch")._replace(content=leg("mon", first, 9))

    assert seals_of([row(), begun])["checkpoint-1"].passed is passed
    assert seals_of([begun, row()])["checkpoint-1"].passed is False


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"x": [1]}},
        {"files": {"x": [1, 2]}},
        {"files": {"x": ["1", "0" * 64]}},
        {"files": {"x": [1, "0" * 63]}},
        {"files": {"x": [1, "G" * 64]}},
        {"step": "1"},
        {"newest": None},
        {"checkpoint": 1},
        {"checkpoint": None},
    ],
)
def test_a_row_of_another_shape_is_no_seal(changes: dict[str, Any]) -> None:
    assert seals_of([row(**changes)]) == {}


def test_a_scan_is_remembered_as_it_was_but_for_what_was_read() -> None:
    assert scan_from(scan_text(SCAN), SPANS) == SCAN._replace(bytes_read=0)


def test_a_scan_of_other_spans_is_not_what_was_asked_for() -> None:
    assert scan_from(scan_text(SCAN), SPANS[:1]) is None
    assert scan_from(scan_text(SCAN), [SPANS[0]._replace(crc=1), SPANS[1]]) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("0" * 64),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=20,
)


@given(json_values | st.tuples(st.just("0" * 64), st.just(16), json_values))
def test_any_text_is_a_well_typed_scan_or_none(value: object) -> None:
    found = scan_from(json.dumps(value), SPANS)

    if found is not None:
        assert set(found.spans) == {"a", "b"}
        assert all(isinstance(span.complete, bool) and span.peak >= 0 for span in found.spans.values())


@given(st.text(max_size=50))
def test_any_string_is_none_of_them(text: str) -> None:
    assert scan_from(text, SPANS) is None


def test_the_stamp_changes_with_all_that_matters_and_with_nothing_else() -> None:
    entry = Entry("checkpoint-1/x", FILE, 16, 1, 2, 3)
    stamp = stamp_of(entry, SPANS)

    assert stamp_of(entry._replace(allocated=512), SPANS) == stamp
    times = [entry._replace(mtime_ns=9), entry._replace(ctime_ns=9)]
    others = [entry._replace(size=17), entry._replace(inode=9), *times]
    assert len({stamp, *(stamp_of(other, SPANS) for other in others), stamp_of(entry, SPANS[:1])}) == 6


def test_a_hard_link_moves_the_stamp_of_what_was_known_before_it_and_of_nothing_else() -> None:
    before = Entry("checkpoint-1/x", FILE, 16, 1, 2, 3)
    after = before._replace(ctime_ns=9)
    stamp = stamp_of(before, SPANS)

    assert linked(stamp, before, after) == stamp_of(after, SPANS)
    assert linked(stamp, before, after._replace(mtime_ns=9)) == stamp  # written to meanwhile
    assert linked(stamp, before._replace(ctime_ns=5), after) == stamp  # not as it was read, even before the link


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a b", "d  a b\n"),
        ("a\\b", "\\d  a\\\\b\n"),
        ("a\nb", "\\d  a\\nb\n"),
        ("a\rb", "\\d  a\\rb\n"),
        ("ä", "d  ä\n"),
    ],
)
def test_lines_of_checksum_files_escape_as_the_tools_do(name: str, line: str) -> None:
    assert checksum_line("d", name) == line


def test_a_step_that_a_leg_trained_again_to_the_bit_may_have_other_files(tmp_path: Path) -> None:
    """Trained again, the log is the same; the adapter's configuration lists its modules in another order."""
    run = make_run(tmp_path / "run")
    verified(run)
    home = Path(run, "checkpoint-300")
    config = json.loads((home / "adapter_config.json").read_text())
    config["target_modules"].reverse()
    (home / "adapter_config.json").write_text(json.dumps(config))
    later = max(entry.stat().st_mtime_ns for entry in home.iterdir()) + 10**10
    for entry in home.iterdir():
        os.utime(entry, ns=(later, later))
    assert broken_seals(verified(run)) == [("checkpoint-300", "adapter_config.json")]

    tell(run, leg("monday", 200, 300))
    assert broken_seals(verified(run)) == []

    flip(Path(run, "checkpoint-200", WEIGHTS))
    flip(home / WEIGHTS)
    assert broken_seals(verified(run, cache=False)) == [("checkpoint-200", WEIGHTS), ("checkpoint-300", WEIGHTS)]
