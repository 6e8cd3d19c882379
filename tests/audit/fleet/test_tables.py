"""Rows go into Parquet and come back as they were, in order, whatever is in them."""

import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the extra fleet is not installed")

from hypothesis import given
from hypothesis import strategies as st

from audit.fleet import tables
from audit.fleet.rows import Audited, FindingRow, RunRow, order, shown
from audit.fleet.tables import Table, moment, read_part, write_part, write_tables
from tests.examples import examples

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WHOLE = st.integers(-(1 << 63), (1 << 63) - 1)
ROWS = st.builds(
    RunRow("", "", "", "")._replace,
    run=TEXTS,
    verdict=st.none() | TEXTS,
    bytes=WHOLE,
    rules=st.lists(TEXTS, max_size=3).map(tuple),
    saved=st.none() | WHOLE,
    seconds=st.floats(0, 1e9),
    settled=st.booleans(),
)
FINDINGS = st.builds(
    FindingRow, TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.none() | WHOLE, TEXTS, TEXTS, TEXTS,
    st.none() | TEXTS, st.none() | TEXTS, TEXTS, st.booleans(), st.none() | TEXTS,
)  # fmt: skip


def row(run: str, findings: int = 0) -> Audited:
    found = FindingRow(run, None, None, None, "loss/jump", "error", "m", None, None, "r", False, None)
    return Audited(RunRow(run, "/", "o", "audited"), (found,) * findings)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(str(tmp_path / "runs.parquet"), str(tmp_path / "findings.parquet"))


@examples(20)
@given(st.lists(st.tuples(ROWS, st.lists(FINDINGS, max_size=2)), max_size=2))
def test_a_part_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    given_rows = [Audited(item[0], tuple(item[1])) for item in rows]  # type: ignore[index]
    path = str(tmp_path_factory.getbasetemp() / "part.parquet")
    write_part(path, given_rows, b"id")
    assert read_part(path, b"id") == given_rows
    assert read_part(path, b"other") is None


def test_a_table_of_several_groups_comes_back_with_the_findings_of_each_run(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "AT_ONCE", 3)
    rows = [row(f"/r/{number:02}", number % 3) for number in range(10)]
    write_tables(*table, rows, b"{}")
    assert list(table.audited()) == rows
    assert table.about() == b"{}"
    write_tables(*table, rows[:0], b"{}")
    assert list(table.audited()) == []


@pytest.mark.parametrize("name", ["file:x.parquet", "s3:b.parquet", os.fsdecode(b"out\xfe.parquet")])
def test_a_name_that_pyarrow_would_take_for_an_address_is_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = Table(name, f"{name}.findings")
    write_tables(*there, [row("/a", 1)], b"{}")
    assert there.about() == b"{}"
    assert list(there.audited()) == [row("/a", 1)]
    write_part(name, [row("/b", 1)], b"id")
    assert read_part(name, b"id") == [row("/b", 1)]


def test_findings_of_a_run_that_is_gone_are_passed_over(table: Table, tmp_path: Path) -> None:
    write_tables(*table, [row("/a", 1), row("/b", 1), row("/c", 2)], b"{}")
    other = Table(str(tmp_path / "other.parquet"), str(tmp_path / "others.parquet"))
    write_tables(*other, [row("/b"), row("/c")], b"{}")
    found = Table(other.runs, table.findings).audited()
    assert [(item.row.run, len(item.findings)) for item in found] == [("/b", 1), ("/c", 2)]


def test_a_write_that_fails_leaves_the_tables_as_they_were(table: Table) -> None:
    write_tables(*table, [row("/a", 1)], b"{}")

    def failing() -> object:
        yield row("/b")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_tables(*table, failing(), b"{}")  # type: ignore[arg-type]
    assert list(table.audited()) == [row("/a", 1)]
    assert sorted(path.name for path in Path(table.runs).parent.iterdir()) == ["findings.parquet", "runs.parquet"]


def test_the_order_is_that_of_names_in_directories() -> None:
    assert order("/a/b") < order("/a-b/a")
    assert shown("/r/\udcff") == "/r/\\udcff"


def test_a_time_in_words() -> None:
    assert moment(1_000_000) == "1970-01-01T00:00:01Z"
    assert moment(None) is None
    assert moment(1 << 62) is None
