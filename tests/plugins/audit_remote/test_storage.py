"""Every storage answers as a directory on this disk does; tests/audit/test_storage.py has what only a disk has."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import AuditError
from audit.plugin import DIRECTORY, FILE, SPECIAL, LocalStorage, Storage
from audit_remote import readers, storage
from audit_remote.source import Object
from audit_remote.storage import RemoteStorage

Make = Callable[[dict[str, bytes]], Storage]


def on_disk(tmp_path: Path) -> Make:
    def make(files: dict[str, bytes]) -> Storage:
        home = tmp_path / uuid.uuid4().hex
        home.mkdir()
        for path, data in files.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_bytes(data)
        return LocalStorage(str(home))

    return make


def in_obstore(tmp_path: Path, kind: str) -> Make:
    obstore = pytest.importorskip("obstore")
    from audit_remote.buckets import Bucket

    def make(files: dict[str, bytes]) -> Storage:
        home = tmp_path / uuid.uuid4().hex
        home.mkdir()
        store = obstore.store.MemoryStore() if kind == "memory" else obstore.store.LocalStore(str(home))
        for path, data in files.items():
            obstore.put(store, f"some/run/{path}", data)
        return RemoteStorage("s3://b/some/run", Bucket("s3://b/some/run", store, "some/run", "x"))

    return make


def in_fsspec(tmp_path: Path) -> Make:
    fsspec = pytest.importorskip("fsspec")
    from audit_remote.files import open_files

    def make(files: dict[str, bytes]) -> Storage:
        home = uuid.uuid4().hex
        memory = fsspec.filesystem("memory")
        for path, data in files.items():
            memory.pipe_file(f"/{home}/{path}", data)
        return open_files(f"memory://{home}")

    return make


KINDS: dict[str, Callable[[Path], Make]] = {
    "disk": on_disk,
    "obstore memory": lambda home: in_obstore(home, "memory"),
    "obstore local": lambda home: in_obstore(home, "local"),
    "fsspec memory": in_fsspec,
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    return KINDS[request.param](tmp_path)


RUN = {
    "checkpoint-1/a.json": b"0123456789",
    "checkpoint-1/b/c.bin": b"xyz",
    "checkpoint-1/empty.txt": b"",
    "checkpoint-10/a.json": b"{}",
    "trainer_state.json": b"{}",
}


def test_entries_come_sorted_with_paths_relative_to_the_run(make: Make) -> None:
    found = make(RUN)

    assert [(item.path, item.kind) for item in found.list("")] == [
        ("checkpoint-1", DIRECTORY),
        ("checkpoint-10", DIRECTORY),
        ("trainer_state.json", FILE),
    ]
    assert [(item.path, item.kind, item.size) for item in found.list("checkpoint-1") if item.kind == FILE] == [
        ("checkpoint-1/a.json", FILE, 10),
        ("checkpoint-1/empty.txt", FILE, 0),
    ]
    assert [item.name for item in found.list("checkpoint-1/b")] == ["c.bin"]


def test_a_range_past_the_end_comes_back_short(make: Make) -> None:
    with make(RUN).open("checkpoint-1/a.json") as reader:
        assert (reader.size, reader.read(8, 10), reader.read(20, 4)) == (10, b"89", b"")
        buffer = memoryview(bytearray(6))
        assert reader.read_into(7, buffer) == 3
        assert bytes(buffer) == b"789\0\0\0"


def test_an_empty_file_is_read_as_one(make: Make) -> None:
    with make(RUN).open("checkpoint-1/empty.txt") as reader:
        assert (reader.size, reader.read(0, 10), reader.read_into(0, memoryview(bytearray(3)))) == (0, b"", 0)


@pytest.mark.parametrize("path", ["checkpoint-1/nothing", "nothing/a.json", "checkpoint-2"])
def test_what_is_not_there_is_not_found(make: Make, path: str) -> None:
    found = make(RUN)

    with pytest.raises(FileNotFoundError):
        found.open(path)
    with pytest.raises(FileNotFoundError):
        found.list(path)


@pytest.mark.parametrize("path", ["../outside", "checkpoint-1/../../outside", "checkpoint-1/./a.json", "/etc/hostname"])
def test_a_path_that_leads_out_is_not_opened(make: Make, path: str) -> None:
    with pytest.raises(OSError, match="leads out of the run"):
        make(RUN).open(path)


def test_a_directory_is_no_file(make: Make) -> None:
    with pytest.raises(OSError, match=r"(?i)is a directory|not a regular file"):
        make(RUN).open("checkpoint-1")


def test_a_file_that_comes_later_is_there_after_a_refresh(make: Make) -> None:
    found = make(RUN)
    before = {item.name: item for item in found.list("")}
    found.refresh()

    assert {item.name: item._replace(allocated=None) for item in found.list("")} == {
        name: item._replace(allocated=None) for name, item in before.items()
    }


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few bytes are large ones."""
    monkeypatch.setattr(storage, "SMALL", 16)
    monkeypatch.setattr(storage, "KEPT", 256)
    monkeypatch.setattr(readers, "BLOCK", 24)
    monkeypatch.setattr(readers, "LEAST", 8)
    monkeypatch.setattr(readers, "GAP", 4)
    monkeypatch.setattr(readers, "LONG", 20)
    monkeypatch.setattr(readers, "OVERLAP", 4)


NAMES = st.sampled_from(["a.json", "model.safetensors", "optimizer.pt", "other.dat"])
READS = st.lists(st.tuples(st.sampled_from(["read", "into", "ahead"]), st.integers(0, 220), st.integers(0, 120)))


@pytest.mark.usefixtures("tiny")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(files=st.dictionaries(NAMES, st.binary(max_size=200), min_size=1), name=NAMES, reads=READS)
def test_any_range_of_any_file_is_what_was_stored(
    make: Make, files: dict[str, bytes], name: str, reads: list[tuple[str, int, int]]
) -> None:
    if name not in files:
        return
    found = make({f"checkpoint-1/{path}": data for path, data in files.items()})
    data = files[name]

    with found.open(f"checkpoint-1/{name}") as reader:
        assert reader.size == len(data)
        for how, offset, length in reads:
            if how == "read":
                assert reader.read(offset, length) == data[offset : offset + length]
            elif how == "into":
                buffer = memoryview(bytearray(length))
                count = reader.read_into(offset, buffer)
                assert bytes(buffer[:count]) == data[offset : offset + length]
            elif hasattr(reader, "prefetch"):
                reader.prefetch([(offset, length), (offset + 40, length)])


@pytest.mark.usefixtures("tiny")
def test_threads_that_go_through_a_file_together_get_its_bytes_and_fetch_each_once(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    found = in_obstore(tmp_path, "memory")({"checkpoint-1/optimizer.pt": data})

    with found.open("checkpoint-1/optimizer.pt") as reader, ThreadPoolExecutor(4) as pool:

        def piece(start: int) -> bytes:
            buffer = memoryview(bytearray(18))  # two bytes more than the next one begins at, as in the scan
            return bytes(buffer[: reader.read_into(start, buffer)])

        pieces = list(pool.map(piece, range(0, len(data), 16)))

    assert b"".join(item[:16] for item in pieces) == data
    assert found.bytes_read == len(data)


class Listed:
    """A listing of any keys, as no client library hands it out."""

    identity, times = "x", None

    def __init__(self, *keys: str, pages: int = 1) -> None:
        self.keys, self.count = keys, pages

    def pages(self) -> list[list[Object]]:
        return [[Object(key, 3, "v", 0) for key in self.keys]] * self.count

    def read(self, item: Object, start: int, end: int) -> memoryview:
        return memoryview(b"xyz"[start:end])


def kinds(*keys: str) -> dict[str, str]:
    found = RemoteStorage("s3://b/r", Listed(*keys))
    names: dict[str, str] = {}
    folders = [""]
    while folders:
        for item in found.list(folders.pop()):
            names[item.path] = item.kind
            if item.kind == DIRECTORY:
                folders.append(item.path)
    return names


def test_a_marker_of_a_directory_is_no_file() -> None:
    assert kinds("checkpoint-1/", "checkpoint-2/", "checkpoint-2/a") == {
        "checkpoint-2": DIRECTORY,
        "checkpoint-2/a": FILE,
    }


@pytest.mark.parametrize("first", [True, False])
def test_a_marker_whose_slash_the_client_takes_away_is_none_either(first: bool) -> None:
    """obstore 0.12 gives the key ``checkpoint-2/`` as ``checkpoint-2``, and that of the run itself as an empty one."""

    class Marked(Listed):
        def pages(self) -> list[list[Object]]:
            found = [Object(key, 3 * key.endswith("a"), "v", 0) for key in self.keys]
            return [found if first else found[::-1]]

    found = RemoteStorage("s3://b/r", Marked("", "checkpoint-2", "checkpoint-2/inner", "checkpoint-2/inner/a"))
    assert [(item.path, item.kind) for item in found.list("")] == [("checkpoint-2", DIRECTORY)]
    assert [(item.path, item.kind) for item in found.list("checkpoint-2")] == [("checkpoint-2/inner", DIRECTORY)]
    assert [item.path for item in found.list("checkpoint-2/inner")] == ["checkpoint-2/inner/a"]


@pytest.mark.parametrize("key", ["c/../../etc/passwd", "c//x", "c/./x", "c/a\0b", "c/\udcff"])
def test_a_name_that_no_file_has_is_something_special_inside_the_run(key: str) -> None:
    found = kinds(key)

    assert list(found.values()) == [DIRECTORY, SPECIAL]
    assert not {"", ".", ".."} & set("/".join(found).split("/"))


def test_what_is_an_object_and_a_directory_is_neither() -> None:
    assert kinds("c/a", "c/a/b")["c/a"] == SPECIAL
    assert kinds("c/a/b", "c/a")["c/a"] == SPECIAL


@given(st.lists(st.text(st.sampled_from("a/.\0 %#?é\n"), min_size=1, max_size=8), max_size=8))
def test_any_keys_make_a_tree_without_a_way_out(keys: list[str]) -> None:
    for path in kinds(*keys):
        assert {"", ".", ".."}.isdisjoint(path.split("/"))


def test_more_objects_than_a_run_has_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MOST_OBJECTS", 10)
    found = RemoteStorage("s3://b/r", Listed("a", "b", "c", pages=4))

    with pytest.raises(AuditError, match="more than 10 objects; give the URL of one run"):
        found.list("")


def test_keys_of_very_many_directories_are_not_kept() -> None:
    """A key of a kilobyte has five hundred: as many objects as a run may have would take tens of gigabytes."""
    keys = [f"{number}/{'a/' * 500}x" for number in range(1000)]

    with pytest.raises(AuditError, match="more than 100000 directories; give the URL of one run"):
        RemoteStorage("s3://b/r", Listed(*keys)).list("")


def test_without_versions_nothing_of_another_process_is_taken_for_the_same() -> None:
    class Plain(Listed):
        def pages(self) -> list[list[Object]]:
            return [[Object("a", 3, None, 0)]]

    one, other = (RemoteStorage("x://r", Plain()).list("")[0] for _ in range(2))

    assert one.version != other.version
