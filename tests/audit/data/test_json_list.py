"""A file that is one JSON list: its elements are its rows, and an untrusted one costs no memory."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData
from audit.data import json_list, rows
from audit.data.rows import container_of, count_rows, inspect, judged_rows, read_rows

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
documents = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), min_size=1, max_size=6)


def reason(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(BadData) as caught:
        inspect(str(path))
    return f"{caught.value.row}: {caught.value.reason}"


@given(
    written=documents,
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
    blank=st.sampled_from(["", "\n", " \r\n\t"]),
    chunk=st.integers(1, 40),
)
def test_a_written_list_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    written: list[dict[str, Any]],
    indent: int | None,
    ascii_only: bool,
    bom: bool,
    blank: str,
    chunk: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.json"
    text = blank + json.dumps(written, ensure_ascii=ascii_only, indent=indent) + blank
    path.write_text(text, encoding="utf-8-sig" if bom else "utf-8", newline="")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "_CHUNK", chunk)
        found = list(read_rows(str(path)))

    assert [row for _, row in found] == [
        {key: item for key, item in row.items() if item is not None} for row in written
    ]
    assert [number for number, _ in found] == list(range(1, len(written) + 1))
    assert count_rows(str(path)) == len(written)


@given(written=documents, data=st.data())
def test_a_damaged_list_is_rows_or_bad_data(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], data: st.DataObject
) -> None:
    whole = bytearray(json.dumps([{**row, "text": "a"} for row in written]).encode())
    place = data.draw(st.integers(0, len(whole) - 1), label="at")
    whole[place : place + data.draw(st.integers(0, 4))] = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"[", b'"', b"}"])
    )
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(whole)

    try:
        said = f"{inspect(str(path)).count} rows"
    except BadData as error:
        said = str(error)
    else:
        assert said == f"{len(list(read_rows(str(path))))} rows"
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", "None: has no rows"),
        (b"[", "1: is truncated: the list has no end"),
        (b'[{"text": "a"}', "1: is truncated: the list ends after it"),
        (b'[{"text": "a"},', "2: is truncated: the list has no end"),
        (b'[{"text": "a"}, {"text": "b', "2: is truncated: the list ends within it"),
        (b'[{"text": "a"}, {"text": "b"', "2: is truncated: the list ends within it"),
        (b'[{"text": "a"},]', "2: is missing: the list has a comma without an element"),
        (b'[,{"text": "a"}]', "1: is missing: the list has a comma without an element"),
        (b'[{"text": "a"} {"text": "b"}]', "1: is not followed by a comma or the end of the list"),
        (b'[{"text": "a"}]\n[{"text": "b"}]', "None: has text after the end of its list"),
        (b'[{"text": "a"}, 7]', "2: is a number; each element must be one JSON object"),
        (b'[{"text": "a"}, "b"]', "2: is a string; each element must be one JSON object"),
        (b'[["a"]]', "1: is a list; each element must be one JSON object"),
        (b'[{"text": "a"}, null]', "2: is null; each element must be one JSON object"),
        (b'[{"text": "a"}, {"text": 1}]', "2: text is a number; it must be a string"),
        (b'[{"text": NaN}]', "1: is not JSON: NaN is not a JSON value"),
        (b'[{"text": "\xff"}]', "1: is not UTF-8 text: byte 11 of the element is not"),
        (b"[{]", "1: is not JSON: Expecting property name"),
        (b'[{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]", "1: is nested too deeply"),
        (b"[" * 200_000, "1: is truncated: the list ends within it"),
    ],
)
def test_what_is_wrong_with_a_list_is_named_with_the_element(content: bytes, expected: str, tmp_path: Path) -> None:
    assert reason(tmp_path / "a.json", content).startswith(expected)


def test_the_content_says_that_it_is_a_list_not_the_name(tmp_path: Path) -> None:
    (tmp_path / ".held-a.gz").write_text('\n [{"text": "a"}]\n')
    (tmp_path / "a.json").write_text('{"text": "a"}\n{"text": "b"}\n')

    assert inspect(str(tmp_path / ".held-a.gz"))[:2] == (1, "text")
    assert inspect(str(tmp_path / "a.json"))[:2] == (2, "text")
    assert container_of(str(tmp_path / ".held-a.gz")) == "JSON list"
    assert container_of(str(tmp_path / "a.json")) == "JSON Lines"


def test_all_bad_elements_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, 7, {"text": NaN}, {"txt": "b"}, {"text": "c"}]')

    found = list(judged_rows(str(tmp_path / "a.json")))

    assert [item.number for item in found if item.fault is not None] == [2, 3, 4]
    assert [item.row["text"] for item in found if item.fault is None] == ["a", "c"]


@pytest.mark.parametrize("content", [b'[{"text": "', b"[ ", b"[7", b'[{"text": "a"}, ', b'[{"a": [', b'["'])
def test_a_list_of_a_terabyte_is_not_read_into_memory(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "LINE_LIMIT", 1 << 20)
    path = tmp_path / "a.json"
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(1 << 40)  # a hole
    tracemalloc.start()

    with pytest.raises(BadData):
        inspect(str(path))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_long_list_in_one_line_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LINE_LIMIT", 1 << 16)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": f"{number} " * 50} for number in range(5000)]))

    assert path.stat().st_size > 1 << 20
    assert inspect(str(path))[:2] == (5000, "text")


def test_an_element_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LINE_LIMIT", 1 << 20)
    long = json.dumps([{"text": "a"}, {"text": "b" * (1 << 20)}]).encode()

    assert reason(tmp_path / "a.json", long) == "2: the element is longer than 1 MiB; split the example"
    (tmp_path / "b.json").write_bytes(json.dumps([{"text": "a"}, {"text": "b" * ((1 << 20) - 12)}]).encode())
    assert inspect(str(tmp_path / "b.json")).count == 2
