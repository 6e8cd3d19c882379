"""The local storage never leaves the run, never blocks and never changes anything."""

import os
from pathlib import Path

import pytest

from audit.storage import DIRECTORY, FILE, LINK, SPECIAL, BytesReader, LocalStorage, pieces


@pytest.fixture
def run(tmp_path: Path) -> Path:
    home = tmp_path / "run"
    (home / "checkpoint-1").mkdir(parents=True)
    (home / "checkpoint-1" / "a.json").write_bytes(b"0123456789")
    return home


def entry(run: Path, name: str) -> tuple[str, bool]:
    found = {item.name: item for item in LocalStorage(str(run)).list("checkpoint-1")}[name]
    return found.kind, found.escapes


def test_entries_come_sorted_with_paths_relative_to_the_run(run: Path) -> None:
    (run / "checkpoint-1" / "b").mkdir()

    entries = LocalStorage(str(run)).list("checkpoint-1")

    assert [(item.path, item.kind, item.size if item.kind == FILE else 0) for item in entries] == [
        ("checkpoint-1/a.json", FILE, 10),
        ("checkpoint-1/b", DIRECTORY, 0),
    ]


def test_a_range_past_the_end_comes_back_short(run: Path) -> None:
    with LocalStorage(str(run)).open("checkpoint-1/a.json") as reader:
        assert (reader.size, reader.read(8, 10), reader.read(20, 4)) == (10, b"89", b"")
        buffer = memoryview(bytearray(6))
        assert reader.read_into(7, buffer) == 3
        assert bytes(buffer) == b"789\0\0\0"


def test_bytes_in_memory_read_like_a_file(run: Path) -> None:
    with LocalStorage(str(run)).open("checkpoint-1/a.json") as file, BytesReader(b"0123456789") as memory:
        for offset, length in ((0, 3), (8, 10), (20, 1)):
            assert file.read(offset, length) == memory.read(offset, length)


def test_a_link_inside_the_checkpoint_is_followed(run: Path) -> None:
    (run / "checkpoint-1" / "link").symlink_to("a.json")

    assert entry(run, "link") == (FILE, False)


@pytest.mark.parametrize("target", ["../other.json", "/etc/passwd", "../../outside"])
def test_a_link_that_leads_out_is_marked_and_not_followed(run: Path, target: str) -> None:
    (run / "other.json").write_text("{}")
    (run / "checkpoint-1" / "link").symlink_to(target)

    assert entry(run, "link") == (LINK, True)


def test_a_link_to_a_neighbour_whose_name_only_begins_the_same_leads_out(run: Path) -> None:
    (run / "checkpoint-10").mkdir()
    (run / "checkpoint-10" / "a.json").write_text("{}")
    (run / "checkpoint-1" / "link").symlink_to("../checkpoint-10/a.json")

    assert entry(run, "link") == (LINK, True)


def test_a_loop_and_a_dangling_link_are_links(run: Path) -> None:
    (run / "checkpoint-1" / "loop").symlink_to("loop")
    (run / "checkpoint-1" / "dangling").symlink_to("nothing")

    assert entry(run, "loop") == (LINK, False)
    assert entry(run, "dangling") == (LINK, False)


def test_a_link_that_took_the_place_of_a_file_since_the_listing_is_not_followed(run: Path) -> None:
    storage = LocalStorage(str(run))
    assert [item.kind for item in storage.list("checkpoint-1") if item.name == "a.json"] == [FILE]
    (run / "checkpoint-1" / "a.json").unlink()
    (run / "checkpoint-1" / "a.json").symlink_to("/etc/hostname")

    with pytest.raises(OSError, match="symbolic links"):
        storage.open("checkpoint-1/a.json")


def test_a_link_that_took_the_place_of_a_directory_is_neither_listed_nor_opened(run: Path, tmp_path: Path) -> None:
    storage = LocalStorage(str(run))
    (run / "checkpoint-1").rename(tmp_path / "elsewhere")
    (run / "checkpoint-1").symlink_to(tmp_path / "elsewhere")

    for look in (storage.list, storage.open):
        with pytest.raises(OSError, match=r"(?i)symbolic links|not a directory"):
            look("checkpoint-1" if look == storage.list else "checkpoint-1/a.json")


@pytest.mark.parametrize("path", ["../outside", "checkpoint-1/../../outside", "/etc/hostname"])
def test_a_path_that_leads_out_is_not_opened(run: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_text("x")

    with pytest.raises(OSError, match="leads out of the run"):
        LocalStorage(str(run)).open(path)


def test_a_link_inside_the_checkpoint_is_opened_where_it_leads(run: Path) -> None:
    (run / "checkpoint-1" / "inner").mkdir()
    (run / "checkpoint-1" / "inner" / "link").symlink_to("../a.json")

    with LocalStorage(str(run)).open("checkpoint-1/inner/link") as file:
        assert file.read(0, 100) == (run / "checkpoint-1" / "a.json").read_bytes()


def test_the_run_itself_may_be_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(run)

    with LocalStorage(str(tmp_path / "current")).open("checkpoint-1/a.json") as file:
        assert file.size


def test_no_handle_is_left_open(run: Path) -> None:
    storage = LocalStorage(str(run))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        storage.list("checkpoint-1")
        with storage.open("checkpoint-1/a.json"):
            pass
        with pytest.raises(OSError, match="No such file"):
            storage.open("checkpoint-1/nothing")

    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_fifo_is_special_and_opening_it_does_not_hang(run: Path) -> None:
    os.mkfifo(run / "checkpoint-1" / "fifo")

    assert entry(run, "fifo") == (SPECIAL, False)
    with pytest.raises(OSError, match="not a regular file"):
        LocalStorage(str(run)).open("checkpoint-1/fifo")


def test_reading_is_counted(run: Path) -> None:
    storage = LocalStorage(str(run))
    with storage.open("checkpoint-1/a.json") as reader:
        reader.read(0, 4)
        reader.read(8, 10)

    assert storage.bytes_read == 6


def test_a_file_is_read_piece_by_piece_and_one_that_became_shorter_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.storage.PIECE", 4)
    reader = BytesReader(b"0123456789")

    assert [bytes(piece) for piece in pieces(reader, 10, "a")] == [b"0123", b"4567", b"89"]
    assert list(pieces(reader, 0, "a")) == []
    with pytest.raises(OSError, match="a became shorter"):
        list(pieces(reader, 11, "a"))
