"""A Parquet file that claims more than it has is refused before memory is reserved; one that was written is read."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData
from audit.data import parquet_pages
from audit.data.parquet_pages import Leaf
from audit.data.rows import count_rows, read_rows
from tests.audit.data.test_rows import damaged

pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
from pyarrow import parquet  # noqa: E402

LONG = 2 << 20
ROWS = {"text": ["a", "b" * 300, "c"] * 50, "input_ids": [[1, 2], [], [3] * 40] * 50}


def reason(path: Path) -> str:
    with pytest.raises(BadData) as bad:
        list(read_rows(str(path)))
    return bad.value.reason


def varint(number: int) -> bytes:
    """An integer as Thrift writes it in a structure."""
    number *= 2
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def forged(path: Path, at: int, before: int, after: int) -> None:
    """Claim another number in the header of the page at a place of the file."""
    data = path.read_bytes()
    old, new = varint(before), varint(after)
    assert len(old) == len(new)
    place = data.index(old, at)
    assert place < at + 40
    path.write_bytes(data[:place] + new + data[place + len(old) :])


def test_a_page_that_claims_to_unpack_to_very_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a" * LONG]}), path, compression="zstd", use_dictionary=False)
    assert [row["text"] for _, row in read_rows(str(path))] == ["a" * LONG]
    page = parquet.read_metadata(path).row_group(0).column(0).data_page_offset

    size = LONG + 4 + 6  # the length of the text, and the definition levels
    forged(path, page, size, (128 << 20) - 1)
    assert reason(path).startswith("has a page in column text of row group 0 that claims to unpack from ")
    forged(path, page, (128 << 20) - 1, (64 << 20) - 1)
    assert reason(path).startswith("is not a valid Parquet file")  # within the limit, pyarrow finds it out


def test_a_dictionary_that_claims_very_many_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": [str(number) for number in range(200)]}), path)
    page = parquet.read_metadata(path).row_group(0).column(0).dictionary_page_offset

    forged(path, page, 200, 8191)
    assert "that claims a dictionary of 8191 values in " in reason(path)


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("ELEMENTS_ALLOWED", 100, "claims more elements of lists in column input_ids.list.element of row"),
        ("PAGES_ALLOWED", 1, "has more than 1 pages"),
        ("ALWAYS_ALLOWED", 1000, "unpacks to more than 0 times its size"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_is_beyond_a_limit_is_refused(
    limit: str, value: int, said: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(ROWS), path, data_page_version=version)
    assert len(list(read_rows(str(path)))) == 150

    monkeypatch.setattr(parquet_pages, "EXPANSION", 0)
    monkeypatch.setattr(parquet_pages, "BYTES_OF_A_PAGE", 1 << 30)
    assert len(list(read_rows(str(path)))) == 150
    monkeypatch.setattr(parquet_pages, limit, value)
    assert reason(path).startswith(said)


def test_only_the_columns_that_are_read_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"], "image": [b"x" * LONG]}), path, use_dictionary=False)
    monkeypatch.setattr(parquet_pages, "PAGE_ALLOWED", 1000)
    monkeypatch.setattr(parquet_pages, "PAGE_EXPANSION", 0)
    assert len(list(read_rows(str(path)))) == 1
    with pytest.raises(BadData, match="column image of row group 0"):
        list(read_rows(str(path), None))


def test_rows_are_counted_by_one_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    masks = [[1] * 100] * 30
    parquet.write_table(pyarrow.table({"attention_mask": masks, "question": ["a"] * 30}), path)
    monkeypatch.setattr(parquet_pages, "ELEMENTS_ALLOWED", 10)
    monkeypatch.setattr(parquet_pages, "EXPANSION", 1)
    monkeypatch.setattr(parquet_pages, "PAGE_EXPANSION", 1)
    assert count_rows(str(path)) == 30
    with pytest.raises(BadData, match="column attention_mask"):
        list(read_rows(str(path), None))


def test_a_row_that_is_too_long_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b" * (17 << 20), "c"]}), path, compression="zstd")
    with pytest.raises(BadData, match=r"a\.parquet:2: is longer than 16 MiB"):
        list(read_rows(str(path)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x19\xf8\xff\xff\x3f\x00", "has a footer that cannot be read"),  # a list of a million strings
        (b"\x36" + b"\xfe" * 4 + b"\x0f\x00", "claims more than "),  # 4e9 rows
        (b"\x00" * (2 << 20), "has a footer of 2097152 bytes"),
    ],
)
def test_a_footer_that_claims_very_much_is_not_given_to_pyarrow(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1")
    assert reason(path).startswith(said)


def header(kind: int, unpacked: int, packed: bytes, *more: bytes) -> bytes:
    """A header of a page: type, sizes, and whatever follows."""
    return b"\x15" + varint(kind) + b"\x15" + varint(unpacked) + b"\x15" + packed + b"".join(more) + b"\x00"


VALUES = b"\x2c\x15" + varint(1) + b"\x00"  # a data_page_header, two fields on, that has one value
DECOYS = {
    "a page of another type with the values of all": header(1, 0, varint(0), VALUES),
    "a size of more than 32 bits": header(1, 0, varint(1 << 36)),
    "a size of another type": b"\x15" + varint(0) + b"\x15" + varint(0) + b"\x16" + varint(0) + VALUES + b"\x00",
}


@pytest.mark.parametrize("name", DECOYS)
def test_a_page_in_front_that_pyarrow_would_read_in_another_way_hides_nothing(tmp_path: Path, name: str) -> None:
    """The page behind it claims to unpack to 128 MiB; the footer is as long as before, and begins later."""
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a" * LONG]}), path, compression="zstd", use_dictionary=False)
    page = parquet.read_metadata(path).row_group(0).column(0).data_page_offset
    forged(path, page, LONG + 10, (128 << 20) - 1)
    data = path.read_bytes()
    path.write_bytes(data[:page] + DECOYS[name] + data[page:])

    assert reason(path).startswith("has a page in column text of row group 0 ")


@given(
    lists=st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=60),
    codec=st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]),
    version=st.sampled_from(["1.0", "2.0"]),
    page=st.sampled_from([16, 200, 1 << 20]),
    rows=st.integers(1, 60),
    dictionary=st.booleans(),
)
def test_the_values_of_all_pages_are_those_of_the_column(
    lists: list[list[int]], codec: str, version: str, page: int, rows: int, dictionary: bool
) -> None:
    file = io.BytesIO()
    table = pyarrow.table({"input_ids": lists, "text": ["x" * len(item) for item in lists]})
    options: dict[str, Any] = {"compression": codec, "data_page_version": version, "use_dictionary": dictionary}
    parquet.write_table(table, file, data_page_size=page, row_group_size=rows, write_batch_size=8, **options)
    columns = parquet_pages.columns_of(file)
    assert isinstance(columns, list)
    leaves = [Leaf("input_ids.list.element", True), Leaf("text", False)]
    largest = parquet_pages.refusal(file, columns, ["input_ids", "text"], leaves)

    metadata = parquet.ParquetFile(file).metadata
    assert [(column.group, column.leaf) for column in columns] == [
        (group, leaf) for group in range(metadata.num_row_groups) for leaf in range(2)
    ]
    for column in columns:
        there = metadata.row_group(column.group).column(column.leaf)
        pages = list(parquet_pages._pages(file, column, "a column"))
        assert isinstance(largest, int)
        assert max((page.unpacked for page in pages), default=0) <= largest
        assert column.values == there.num_values == sum(page.values for page in pages)
        assert there.total_uncompressed_size == sum(page.size + page.unpacked for page in pages)
        assert there.total_compressed_size == sum(page.size + page.packed for page in pages)


@pytest.fixture(scope="module")
def written() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(ROWS), file, compression="zstd", row_group_size=70)
    return file.getvalue()


@given(data=st.data())
def test_damaged_bytes_are_refused_or_left_to_pyarrow(written: bytes, data: st.DataObject) -> None:
    file = io.BytesIO(damaged(written, data))
    columns = parquet_pages.columns_of(file)
    said = (
        columns if isinstance(columns, str) else parquet_pages.refusal(file, columns, ["text"], [Leaf("text", False)])
    )
    assert isinstance(said, int) or said.isprintable()


def test_a_footer_that_pyarrow_does_not_survive_is_no_end_of_the_process() -> None:
    corpus = Path(__file__).parents[2] / "fuzz" / "corpus" / "parquet" / "sizes-that-do-not-fit"
    ask = f"from pyarrow import parquet; parquet.read_metadata({str(corpus)!r}).row_group(0).column(0)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=False)
    if not asked.returncode:
        pytest.fail("pyarrow survives it: the footer need not be read by audit.data.parquet_pages any more")
    with corpus.open("rb") as file:
        columns = parquet_pages.columns_of(file)
        assert isinstance(columns, list)
        leaves = [Leaf("input_ids.list.element", True)]
        assert isinstance(parquet_pages.refusal(file, columns, ["input_ids"], leaves), int)
