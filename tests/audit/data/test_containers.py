"""Compressed data files: what was packed is what is read, and a bomb costs neither time nor memory."""

import gzip
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData
from audit.data import containers, rows
from audit.data.rows import container_of, inspect, read_rows
from audit.errors import AuditError

documents = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=4), min_size=1, max_size=6)
TEXT = b'{"text": "a"}\n{"text": "b"}\n'


def zstd(content: bytes) -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


PACKERS: dict[str, Any] = {"gzip": gzip.compress, "zstd": zstd}


def reason(path: Path) -> str:
    with pytest.raises(BadData) as caught:
        inspect(str(path))
    assert len(str(caught.value).splitlines()) == 1
    return f"{caught.value.row}: {caught.value.reason}"


@pytest.mark.parametrize("how", PACKERS)
@given(written=documents, as_list=st.booleans(), members=st.integers(1, 3))
def test_what_was_packed_is_what_is_read(
    how: str, tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], as_list: bool, members: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"packed.{how}"
    text = json.dumps(written) if as_list else "\n".join(map(json.dumps, written))
    size = -(-len(text) // members)
    pieces = [text[place : place + size] for place in range(0, len(text), size)]
    path.write_bytes(b"".join(PACKERS[how](piece.encode()) for piece in pieces))  # several members are one file

    assert [row for _, row in read_rows(str(path))] == written
    assert container_of(str(path)) == f"{'JSON list' if as_list else 'JSON Lines'}, {how}"


@pytest.mark.parametrize("how", PACKERS)
def test_a_damaged_file_is_bad_data(how: str, tmp_path: Path) -> None:
    whole = PACKERS[how](b"".join(b'{"text": "%d"}\n' % number for number in range(20_000)))
    path = tmp_path / "a"
    for end in (8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert f"its {how} data" in reason(path)
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    path.write_bytes(broken)
    with pytest.raises(BadData):
        inspect(str(path))
    path.write_bytes(whole)
    assert inspect(str(path))[:2] == (20_000, "text")


@pytest.mark.parametrize("how", PACKERS)
@given(data=st.data())
def test_damage_anywhere_is_rows_or_bad_data(
    how: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    broken = bytearray(PACKERS[how](TEXT * 9))
    place = data.draw(st.integers(0, len(broken) - 1), label="at")
    broken[place : place + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    path = tmp_path_factory.getbasetemp() / f"damaged.{how}"
    path.write_bytes(broken)

    try:
        said = f"{inspect(str(path)).count} rows"
    except BadData as error:
        said = str(error)
    else:
        assert said == f"{len(list(read_rows(str(path))))} rows"
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("how", PACKERS)
@pytest.mark.parametrize("content", [b" ", b"\n", b"[", b'{"text": "a"}\n'])
def test_a_bomb_is_refused_early_and_without_memory(
    how: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "ALWAYS_ALLOWED", 1 << 20)
    monkeypatch.setattr(containers, "EXPANSION", 10)
    monkeypatch.setattr(rows, "LINE_LIMIT", 1 << 18)
    path = tmp_path / "a"
    path.write_bytes(PACKERS[how](content * ((32 << 20) // len(content))))
    assert path.stat().st_size * 10 < 1 << 20
    tracemalloc.start()

    assert reason(path)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_what_unpacks_to_much_more_than_its_size_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "ALWAYS_ALLOWED", 1 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(TEXT * 100_000))
    (tmp_path / "good.gz").write_bytes(gzip.compress(b'{"text": "%s"}\n' % os.urandom(1 << 20).hex().encode()))

    assert "unpacks to more than" in reason(tmp_path / "bomb.gz")
    assert inspect(str(tmp_path / "good.gz")).count == 1  # 2 MiB of a file of 1 MiB


def test_what_is_packed_twice_or_is_parquet_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(gzip.compress(TEXT)))
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(b"PAR1" + bytes(100)))

    assert reason(tmp_path / "a.gz").startswith(
        "None: is compressed in a way that is not read (gzip and zstd are, once)"
    )
    assert reason(tmp_path / "b.parquet.gz") == "None: is Parquet inside gzip; unpack it first"


def test_zstd_without_pyarrow_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zst").write_bytes(zstd(TEXT))
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(AuditError, match=r"zstd needs pyarrow.*pip install 'checkpoint-audit\[hf\]'"):
        inspect(str(tmp_path / "a.zst"))
