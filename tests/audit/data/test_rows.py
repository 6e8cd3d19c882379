"""Data files: what is written is what is read, and what is broken is named by file and line."""

import json
import os
import string
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData
from audit.data import rows
from audit.data.row_formats import FORMATS
from audit.data.rows import checked_rows, count_rows, inspect, read_rows
from audit.errors import AuditError

USER, ASSISTANT = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
GOOD: dict[str, dict[str, Any]] = {
    "text": {"text": "To be."},
    "messages": {"messages": [USER, ASSISTANT]},
    "prompt-completion": {"prompt": "2 + 2 = ", "completion": "4"},
    "input_ids": {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]},
    "alpaca": {"instruction": "Add.", "input": "2 + 2", "output": "4"},
    "sharegpt": {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
    "preference": {"prompt": "2 + 2? ", "chosen": "4", "rejected": "5"},
}

texts = st.text(min_size=1, max_size=20)
ids = st.integers(0, 2**31 - 1)
parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=20)}), min_size=1, max_size=3)
contents_of_messages = st.shared(st.sampled_from([st.text(max_size=20), parts])).flatmap(lambda kind: kind)
messages = st.lists(
    st.fixed_dictionaries({"role": texts, "content": contents_of_messages}, optional={"name": texts}),
    min_size=1,
    max_size=4,
)
contents = {
    "text": st.fixed_dictionaries({"text": texts}),
    "messages": st.fixed_dictionaries({"messages": messages}),
    "prompt-completion": st.fixed_dictionaries({"prompt": texts, "completion": texts})
    | st.fixed_dictionaries({"prompt": messages, "completion": messages}),
    "input_ids": st.lists(ids, min_size=1, max_size=8).map(lambda items: {"input_ids": items, "labels": items[::-1]}),
    "alpaca": st.fixed_dictionaries({"instruction": texts, "input": st.text(max_size=20), "output": texts}),
    "preference": st.fixed_dictionaries({"chosen": texts, "rejected": texts}, optional={"prompt": texts}),
    "sharegpt": st.fixed_dictionaries(
        {
            "conversations": st.lists(
                st.fixed_dictionaries(
                    {"from": st.sampled_from(["human", "gpt", "system"]), "value": st.text(max_size=20)}
                ),
                min_size=1,
                max_size=4,
            )
        }
    ),
}
files = st.sampled_from(list(FORMATS)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(contents[name], min_size=1, max_size=6))
)


def write(path: Path, *lines: Any) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return str(path)


def reason(path: Path | str, format: str = "auto") -> str:
    with pytest.raises(BadData) as caught:
        inspect(str(path), format)
    assert caught.value.path == str(path)
    assert "\n" not in caught.value.reason
    return f"{caught.value.row}: {caught.value.reason}"


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_found_by_the_keys(format: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD[format], GOOD[format])

    assert inspect(path) == inspect(path, format)
    assert inspect(path)[:2] == (2, format)


@given(made=files, ascii_only=st.booleans(), blank=st.sampled_from(["", "\n", " \t\r\n", "\n\n\n"]), bom=st.booleans())
def test_written_lines_are_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[str, list[dict[str, Any]]],
    ascii_only: bool,
    blank: str,
    bom: bool,
) -> None:
    name, written = made
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in written]
    path.write_text(f"\n{blank}".join(lines), encoding="utf-8-sig" if bom else "utf-8", newline="")

    found = list(read_rows(str(path)))

    assert [row for _, row in found] == written
    assert [number for number, _ in found] == [1 + place * (1 + blank.count("\n")) for place in range(len(written))]
    assert inspect(str(path))[:2] == (len(written), name)


@given(made=files, data=st.data())
def test_written_parquet_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[str, list[dict[str, Any]]], data: st.DataObject
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    name, written = made
    for row in written[1:]:  # a column has one type
        if type(row.get("prompt")) is not type(written[0].get("prompt")):
            return
    path = str(tmp_path_factory.getbasetemp() / "written.parquet")
    size = data.draw(st.integers(1, 4), label="rows in a group")
    parquet.write_table(pyarrow.Table.from_pylist(written), path, row_group_size=size)

    found = list(read_rows(path))

    assert [number for number, _ in found] == list(range(1, len(written) + 1))
    assert [without_null(row) for _, row in found] == written
    assert inspect(path)[:2] == (len(written), name)


def without_null(value: Any) -> Any:
    """A key that one message lacks is null in a Parquet file."""
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return [without_null(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hello", "is not JSON: Expecting value at column 1"),
        ('{"text": "a"', "is truncated: its JSON ends within a value, at column 12"),
        ('{"text": "a', "is truncated: its JSON ends within a value, at column 11"),
        ('{"text": "a"} {"text": "b"}', "is not JSON: Extra data at column 15"),
        ('{"text": NaN}', "is not JSON: NaN is not a JSON value"),
        ('{"text": "a", "score": -Infinity}', "is not JSON: -Infinity is not a JSON value"),
        ('{"text": "a", "score": 1e999}', "has a number that is too large"),
        ('{"text": "\\ud800"}', "has a string with half of a surrogate pair (\\ud800 to \\udfff), which is not text"),
        ('{"text": ' + "[" * 100_000, "is nested too deeply"),
        ("{", "each line must be one whole object (JSON Lines, not a list or an indented document)"),
        ('"a"', "is a string; each line must be one JSON object"),
        ("7", "is a number; each line must be one JSON object"),
        ("null", "is null; each line must be one JSON object"),
    ],
)
def test_a_bad_row_is_named_with_what_is_allowed(line: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"\n{line}\n", encoding="utf-8")

    assert reason(path).startswith("2: ")
    assert expected in reason(path)


def test_the_last_row_of_a_long_file_is_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[GOOD["text"]] * 5000, {"text": 1})

    assert reason(path) == "5001: text is a number; it must be a string"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "None: has no rows"),
        (b"\n \r\n\t\n", "None: has no rows"),
        (b"\xef\xbb\xbf", "None: has no rows"),
        (b"\0" * 5000, "None: begins with zeros, as a file does if the machine crashed"),
        (b'{"text": "a"}\n' + b"\0" * 5000, "2: begins with zeros, as a file does if the machine crashed"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', "2: is not UTF-8 text: byte 11 of the line is not"),
        ('{"text": "a"}'.encode("utf-16"), "None: is UTF-16 text; JSON Lines are UTF-8"),
        (b"BZh91AY&SY", "None: is compressed in a way that is not read (gzip and zstd are, once); unpack it first"),
        (b"\x1f\x8b\x08\0", "None: is truncated: its gzip data has no end"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1\n", "None: is a git-lfs placeholder"),
    ],
)
def test_what_often_lies_in_place_of_a_data_file_is_said_by_name(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)

    assert reason(path).startswith(expected)


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LINE_LIMIT", 1 << 20)
    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"text": "a"}\n{"text": "')
        file.truncate(1 << 40)  # a hole

    assert reason(path) == "2: the line is longer than 1 MiB; split the example"


def test_a_line_of_the_greatest_length_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a" * 100}, {"text": "b"})
    monkeypatch.setattr(rows, "LINE_LIMIT", len(json.dumps({"text": "a" * 100})) + 1)

    assert inspect(path).count == 2


def test_a_directory_is_no_data_file(tmp_path: Path) -> None:
    assert reason(tmp_path) == "None: is a directory; a data file is a JSON Lines or Parquet file"


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(reason(tmp_path / "a.jsonl")), daemon=True)
    thread.start()
    thread.join(30)

    assert found == ["None: is a pipe or a device; a data file is a JSON Lines or Parquet file"]


@pytest.mark.parametrize("target", ["good.jsonl", "nothing"])
def test_a_link_is_refused_wherever_it_leads(target: str, tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", GOOD["text"])
    (tmp_path / "link.jsonl").symlink_to(target)

    assert reason(tmp_path / "link.jsonl").startswith("None: is a symbolic link; put the file itself here")


def test_a_hard_link_is_a_file(tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", GOOD["text"])
    (tmp_path / "link.jsonl").hardlink_to(tmp_path / "good.jsonl")

    assert inspect(str(tmp_path / "link.jsonl")).count == 1


def test_a_file_that_is_gone_is_bad_data(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.jsonl") == "None: cannot be read: No such file or directory"


def test_reading_stops_where_the_reader_stops_and_the_file_is_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD["text"], GOOD["text"])
    before = len(os.listdir("/proc/self/fd"))

    reading = checked_rows(path)
    assert next(reading) == (1, GOOD["text"], "text")
    reading.close()  # type: ignore[attr-defined]

    assert len(os.listdir("/proc/self/fd")) == before


def damaged(whole: bytes, data: st.DataObject) -> bytes:
    """Cut, overwrite or insert, as disks and half copies do."""
    made = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4), label="faults")):
        place = data.draw(st.integers(0, len(made)), label="at")
        fault = data.draw(st.sampled_from(["cut", "overwrite", "insert", "remove"]), label="fault")
        piece = data.draw(st.binary(min_size=1, max_size=12), label="bytes")
        if fault == "cut":
            del made[place:]
        elif fault == "overwrite":
            made[place : place + len(piece)] = piece
        elif fault == "insert":
            made[place:place] = piece
        else:
            del made[place : place + len(piece)]
    return bytes(made)


def judge(path: Path) -> None:
    """A damaged file has rows of its format, or BadData says in one line why not; nothing else is raised."""
    try:
        found = inspect(str(path))
    except BadData as error:
        said = f"{error.path} {error.reason}"
    else:
        said = f"{path} {found.format}"
        assert found.format in FORMATS
        assert found.count == len(list(read_rows(str(path)))) > 0
    assert said.startswith(str(path))
    assert len(said.splitlines()) == 1


@given(made=files, data=st.data())
def test_damaged_lines_are_rows_or_bad_data(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[str, list[dict[str, Any]]], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    path.write_bytes(damaged("\n".join(map(json.dumps, made[1])).encode(), data))

    judge(path)


@given(content=st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes_at_all_are_rows_or_bad_data(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)

    judge(path)


@pytest.fixture(scope="module")
def parquet_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a sound file of each format."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    made = {}
    for name, row in GOOD.items():
        parquet.write_table(pyarrow.Table.from_pylist([row] * 20), path, compression="zstd", row_group_size=8)
        made[name] = path.read_bytes()
    return made


@given(name=st.sampled_from(list(GOOD)), data=st.data())
def test_damaged_parquet_is_rows_or_bad_data(
    parquet_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    path.write_bytes(damaged(parquet_files[name], data))

    judge(path)


@pytest.mark.parametrize("length", [0, 3, 4, 8, 100, -1, -8])
def test_a_parquet_file_that_was_cut_is_said_to_be_unsound(
    parquet_files: dict[str, bytes], tmp_path: Path, length: int
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_files["text"][:length])

    assert reason(path).startswith("None: is not a valid Parquet file, after row 0: ")


def test_parquet_is_known_by_its_first_bytes_too(parquet_files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(parquet_files["messages"])

    assert inspect(str(tmp_path / "data"))[:2] == (20, "messages")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": ["a", "", "c"]}, "2: text is empty"),
        ({"text": ["a", None]}, "2: has no key with a value"),
        ({"text": [b"a"]}, "1: text is bytes; it must be a string"),
        ({"text": [1.5]}, "1: text is a number; it must be a string"),
        ({"input_ids": [[1, 2], [3, None]]}, "2: input_ids[1] is None; token ids are whole numbers from 0"),
        ({"input_ids": [[1.0, float("nan")]]}, "1: input_ids[0] is 1.0; token ids are whole numbers from 0"),
        ({"text": ["a", None], "input_ids": [None, [1, 2]]}, "2: has input_ids, the rows before have text"),
        ({"Text": ["a"]}, "None: has none of the columns text, messages, tools, prompt, completion, input_ids, labels"),
        ({"text": []}, "None: has no rows"),
    ],
)
def test_a_bad_row_of_a_parquet_file_is_named(columns: dict[str, list[Any]], expected: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")

    assert reason(tmp_path / "a.parquet").startswith(expected)


def test_other_columns_of_a_parquet_file_are_not_even_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"image": [b"\xff" * 9], "text": ["a"]}), tmp_path / "a.parquet")

    assert list(read_rows(str(tmp_path / "a.parquet"))) == [(1, {"text": "a"})]


def test_names_and_reasons_of_a_parquet_file_are_short_and_printable(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a\x1b[2J\nb": [1], "c" * 1000: [1]}), tmp_path / "a.parquet")

    said = reason(tmp_path / "a.parquet")

    assert said.isprintable()
    assert said.endswith(f"it has a\\x1b[2J\\nb, {'c' * 40}")


def test_a_text_that_many_rows_share_does_not_fill_the_memory(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 300, pyarrow.int32()), ["x" * (1 << 20)])
    parquet.write_table(pyarrow.table({"text": shared}), tmp_path / "a.parquet", compression="zstd")
    assert os.path.getsize(tmp_path / "a.parquet") < 1000
    before = pyarrow.total_allocated_bytes()

    tracemalloc.start()
    try:
        taken = [pyarrow.total_allocated_bytes() - before for _ in read_rows(str(tmp_path / "a.parquet"))]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(taken) == 300
    assert max(taken) < 32 << 20
    assert peak < 48 << 20


def test_without_pyarrow_the_extra_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")

    with pytest.raises(AuditError, match=r"needs pyarrow, .* pip install 'checkpoint-audit\[hf\]'") as caught:
        inspect(str(tmp_path / "a.parquet"))
    assert not isinstance(caught.value, BadData)


def test_rows_that_are_somebody_elses_business_are_counted_all_the_same(tmp_path: Path) -> None:
    assert count_rows(write(tmp_path / "alpaca.jsonl", {"instruction": "Add.", "output": "4"}, {"x": 1})) == 2
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(BadData, match="has no rows"):
        count_rows(str(tmp_path / "empty.jsonl"))


def test_rows_of_any_columns_are_counted(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({"question": ["a", None, "c"], "image": [b"", b"\xff", b""]}), tmp_path / "a.parquet"
    )

    assert count_rows(str(tmp_path / "a.parquet")) == 3
