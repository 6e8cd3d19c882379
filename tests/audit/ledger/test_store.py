"""The ledger: rows in a chain, many processes at once, whatever else may stand in its place."""

import contextlib
import errno
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger.records import read_records
from audit.ledger.store import (
    LONGEST,
    Ledger,
    LedgerEditedError,
    LedgerError,
    LedgerUnwritableError,
    Row,
    open_ledger,
)
from tests.audit.batch_rows import append_any
from tests.examples import examples

STEPS = (10, 20, 30, 40)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A directory whose ledger holds four observations and a remembered scan."""
    path = str(tmp_path / "run")
    os.mkdir(path)
    ledger = opened(path)
    for step in STEPS:
        append_any(ledger, "observation", {"step": step})
    ledger.remember("checkpoint-40", {"a.bin": ("stamp", "{}")})
    ledger.close()
    return path


def opened(run: str, write: bool = True) -> Ledger:
    ledger = open_ledger(run, write)
    assert ledger is not None
    return ledger


def file_of(run: str) -> Path:
    return Path(run, ".audit", "ledger.db")


def execute(run: str, *statements: str) -> None:
    """Change the file behind the ledger's back."""
    connection = sqlite3.connect(file_of(run))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def held_open(run: str) -> bool:
    """Whether this process holds the ledger of a run open."""
    found = Path("/proc/self/fd")
    return any(os.path.realpath(item) == os.path.realpath(file_of(run)) for item in found.glob("*"))


def steps(run: str) -> list[int]:
    ledger = opened(run, write=False)
    try:
        return [row.content["step"] for row in ledger.rows() if row.kind == "observation"]
    finally:
        ledger.close()


@pytest.mark.parametrize(
    "name", ["a?mode=memory", "50%41", "#1", "ümlaut", os.fsdecode(b"\xff\xfe"), "a b;c&d=e", ":memory:"]
)
def test_whatever_a_directory_is_called_its_ledger_lies_in_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir()
    ledger = opened(str(path))
    append_any(ledger, "observation", {"step": 7})
    ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with contextlib.closing(sqlite3.connect(file_of(str(path)))) as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (1,)


def test_rows_come_back_in_order_and_numbered(run: str) -> None:
    ledger = opened(run, write=False)
    rows = ledger.rows()
    ledger.close()

    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [row.kind for row in rows] == ["observation"] * 4 + ["scans"]
    assert rows[1].content == {"step": 20}


def test_any_tool_can_look_into_it(run: str) -> None:
    connection = sqlite3.connect(file_of(run))
    found = connection.execute("SELECT count(*) FROM rows WHERE kind = 'observation'").fetchone()
    connection.close()

    assert found == (4,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET content = '{\"step\":21}' WHERE number = 2",
        "UPDATE rows SET time = '2020-01-01T00:00:00Z' WHERE number = 2",
        "UPDATE rows SET kind = 'guard' WHERE number = 4",
        "UPDATE rows SET digest = (SELECT digest FROM rows WHERE number = 1) WHERE number = 5",
        "DELETE FROM rows WHERE number = 1",
        "DELETE FROM rows WHERE number = 3",
        "UPDATE rows SET number = number + 1 WHERE number = 5",
        "UPDATE rows SET content = x'00' WHERE number = 2",
        "INSERT INTO rows SELECT 6, time, kind, content, digest FROM rows WHERE number = 5",
        "INSERT INTO rows SELECT 0, time, kind, content, digest FROM rows WHERE number = 5",
    ],
)
def test_a_row_that_was_changed_taken_out_or_put_in_is_noticed(run: str, statement: str) -> None:
    execute(run, statement)

    ledger = opened(run)
    with pytest.raises(LedgerEditedError, match="the history was edited"):
        ledger.rows()
    ledger.close()
    records, none = read_records(run, write=True)
    assert (records.highest_reached, records.unusable, none) == (0, None, None)
    assert records.edited


def test_a_row_moved_into_another_place_is_noticed(run: str) -> None:
    execute(
        run,
        "UPDATE rows SET number = 99 WHERE number = 2",
        "UPDATE rows SET number = 2 WHERE number = 3",
        "UPDATE rows SET number = 3 WHERE number = 99",
    )

    assert read_records(run, write=False)[0].edited


def test_a_remembered_scan_that_the_chain_does_not_vouch_for_is_not_believed(run: str) -> None:
    assert read_records(run, write=False)[0].scans

    execute(run, "UPDATE scans SET content = '[]'")

    records, _ = read_records(run, write=False)
    assert (records.scans, records.edited, records.highest_reached) == ({}, None, 40)


def test_a_remembered_scan_put_in_by_hand_is_not_believed(run: str) -> None:
    execute(run, "INSERT INTO scans VALUES ('checkpoint-50', 'a.bin', 'stamp', '{}')")

    assert set(read_records(run, write=False)[0].scans) == {("checkpoint-40", "a.bin")}


def test_scans_are_replaced_and_forgotten(run: str) -> None:
    ledger = opened(run)
    ledger.remember("checkpoint-40", {"b.bin": ("stamp", "{}")})
    ledger.remember("checkpoint-50", {"c.bin": ("stamp", "{}")})
    assert set(ledger.scans()) == {("checkpoint-40", "b.bin"), ("checkpoint-50", "c.bin")}
    ledger.forget({"checkpoint-40"})
    assert set(ledger.scans()) == {("checkpoint-50", "c.bin")}
    ledger.close()


def test_a_file_whose_name_is_no_text_is_left_out_of_the_remembered_scans(run: str) -> None:
    ledger = opened(run)
    ledger.remember("checkpoint-40", {"a\udcff": ("stamp", "{}"), "b": ("stamp", "{}")})
    assert set(ledger.scans()) == {("checkpoint-40", "b")}
    append_any(ledger, "seal", {"files": {"a\udcff": [1, "0"]}})
    assert "a\udcff" in ledger.rows()[-1].content["files"]
    ledger.close()


APPEND = """
import sys
from audit.ledger.events import Observation
from audit.ledger.store import open_ledger
for number in range(50):
    ledger = open_ledger(sys.argv[1], write=True) if number % 10 == 0 else ledger
    ledger.append(Observation(number, sys.argv[2], "full", 0, 0, ()))
    if number % 10 == 9:
        ledger.close()
"""


def test_eight_processes_write_at_once_into_a_ledger_that_none_has_made_yet(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(tmp_path), str(number)], stderr=subprocess.PIPE)
        for number in range(8)
    ]
    assert [writer.communicate()[1] for writer in writers] == [b""] * 8

    ledger = opened(str(tmp_path), write=False)
    rows = ledger.rows()
    ledger.close()
    for number in range(8):
        assert [row.content["step"] for row in rows if row.content["verdict"] == str(number)] == list(range(50))


def test_a_ledger_of_a_newer_version_is_not_used_and_says_so(run: str) -> None:
    execute(run, "PRAGMA user_version = 2")

    for write in (True, False):
        # The exception is held: it keeps no file open.
        with pytest.raises(LedgerError, match="has version 2, but this audit reads only version 1; upgrade") as held:
            open_ledger(run, write)
        assert not held_open(run), held


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (number INTEGER)",
        "CREATE VIEW more AS SELECT * FROM rows",
        "CREATE INDEX more ON rows (kind)",
        "CREATE TRIGGER more AFTER INSERT ON rows BEGIN DELETE FROM scans; END",
        "DROP TABLE scans",
        "ALTER TABLE rows ADD COLUMN more TEXT",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -1",
    ],
)
def test_a_database_with_another_shape_is_no_ledger_of_ours(run: str, statement: str) -> None:
    execute(run, statement)

    for write in (True, False):
        with pytest.raises(LedgerError, match="is not a ledger of the audit"):
            open_ledger(run, write)


def test_an_empty_file_or_database_is_a_ledger_yet_to_be_made(run: str) -> None:
    for make in (lambda: file_of(run).write_bytes(b""), lambda: execute(run, "PRAGMA journal_mode = WAL")):
        file_of(run).unlink()
        make()
        assert open_ledger(run, write=False) is None
        ledger = opened(run)
        assert ledger.rows() == ()
        ledger.close()


def test_without_a_ledger_reading_makes_none(tmp_path: Path) -> None:
    assert open_ledger(str(tmp_path), write=False) is None
    assert os.listdir(tmp_path) == []


def test_reading_leaves_no_files_behind(run: str) -> None:
    before = {path: path.read_bytes() for path in file_of(run).parent.iterdir()}

    assert steps(run) == list(STEPS)
    assert {path: path.read_bytes() for path in file_of(run).parent.iterdir()} == before


def test_what_another_process_has_only_in_its_log_is_read_too(run: str) -> None:
    writer = opened(run)
    append_any(writer, "observation", {"step": 50})

    assert steps(run) == [*STEPS, 50]
    writer.close()


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0", b"\0" * 4096, b"not a database " * 1000])
def test_a_file_of_something_else_is_not_used_and_not_changed(run: str, content: bytes) -> None:
    file_of(run).write_bytes(content)

    for write in (True, False):
        records, ledger = read_records(run, write)
        assert ledger is None
        assert records.unusable
    assert file_of(run).read_bytes() == content


def _link(place: Path) -> None:
    other = place.parents[1] / "elsewhere"
    os.rename(place, other)
    place.symlink_to(other)


def _dangling(place: Path) -> None:
    os.rename(place, place.parents[1] / "elsewhere")
    place.symlink_to(place.parents[1] / "nothing")


def _directory(place: Path) -> None:
    os.rename(place, place.parents[1] / "elsewhere")
    place.mkdir()


def _fifo(place: Path) -> None:
    os.rename(place, place.parents[1] / "elsewhere")
    os.mkfifo(place)


def _file(place: Path) -> None:
    os.rename(place, place.parents[1] / "elsewhere")
    place.write_bytes(b"")


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize(
    ("place", "put"),
    [
        (".audit", _link),
        (".audit", _dangling),
        (".audit", _fifo),
        (".audit", _file),
        (".audit/ledger.db", _link),
        (".audit/ledger.db", _dangling),
        (".audit/ledger.db", _fifo),
        (".audit/ledger.db", _directory),
    ],
)
def test_whatever_stands_in_its_place_is_not_followed_or_waited_for(
    run: str, place: str, put: Callable[[Path], None], write: bool
) -> None:
    put(Path(run, place))

    records, ledger = read_records(run, write)

    assert ledger is None
    assert "so it is not used" in (records.unusable or "")
    assert not Path(run, "nothing").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("put", ["fifo", "link", "directory"])
def test_nor_what_stands_in_the_place_of_its_side_files(run: str, suffix: str, put: str) -> None:
    place = Path(f"{file_of(run)}{suffix}")
    if put == "fifo":
        os.mkfifo(place)
    elif put == "link":
        place.symlink_to(Path(run, "elsewhere"))
    else:
        place.mkdir()

    for write in (True, False):
        assert "so it is not used" in (read_records(run, write)[0].unusable or "")
    assert not Path(run, "elsewhere").exists()


def test_a_journal_that_would_have_another_file_deleted_is_not_played_back(tmp_path: Path, run: str) -> None:
    victim = tmp_path / "precious"
    victim.write_text("data")
    name = str(victim).encode()
    journal = bytearray(bytes.fromhex("d9d505f920a163d7") + b"\0\0\0\0" + b"\0" * 8)
    journal += (1).to_bytes(4, "big") + (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    journal += b"\0" * (512 - len(journal))
    journal += (1 << 30).to_bytes(4, "big") + name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    Path(f"{file_of(run)}-journal").write_bytes(journal + bytes.fromhex("d9d505f920a163d7"))
    execute_header(run)

    for write in (True, False):
        assert "names another file" in (read_records(run, write)[0].unusable or "")
    assert victim.read_text() == "data"


def execute_header(run: str) -> None:
    """Say in the database's header that it has a journal, not a write-ahead log."""
    data = bytearray(file_of(run).read_bytes())
    data[18:20] = b"\1\1"
    file_of(run).write_bytes(data)


def test_a_ledger_larger_than_any_is_not_read(run: str) -> None:
    os.truncate(file_of(run), 300 << 20)

    assert "is larger than a ledger can be" in (read_records(run, write=True)[0].unusable or "")


def test_a_ledger_of_the_largest_size_is_read_and_one_of_a_byte_more_is_not(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = file_of(run).stat().st_size
    monkeypatch.setattr("audit.ledger.store.LARGEST", size)
    assert read_records(run, write=False)[0].highest_reached == 40

    monkeypatch.setattr("audit.ledger.store.LARGEST", size - 1)
    assert "is larger than a ledger can be" in (read_records(run, write=False)[0].unusable or "")


def test_what_is_in_it_is_counted_row_by_row_and_text_by_text(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file can hold a large text, if that is compressed or a page is read again and again."""
    ledger = opened(run, write=False)
    rows = ledger.rows()
    texts = sum(len(json.dumps(row.content, separators=(",", ":"))) for row in rows)

    def refused(name: str, limit: int, read: Callable[[], object]) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(f"audit.ledger.store.{name}", limit)
            try:
                read()
            except LedgerError as error:
                return "is larger than a ledger can be" in str(error)
            return False

    assert [refused("MOST", limit, ledger.rows) for limit in (len(rows), len(rows) - 1)] == [False, True]
    assert [refused("LARGEST", limit, ledger.rows) for limit in (texts, texts - 1)] == [False, True]
    assert [refused("LARGEST", limit, ledger.scans) for limit in (2, 1)] == [False, True]
    ledger.close()


def test_the_longest_entry_is_written_and_read_and_a_longer_one_leaves_no_trace(run: str) -> None:
    ledger = opened(run)
    room = LONGEST - len('{"text":""}')
    append_any(ledger, "note", {"text": "x" * room})
    with pytest.raises(LedgerError, match=f"an entry of {LONGEST + 1} bytes is too long"):
        append_any(ledger, "note", {"text": "x" * (room + 1)})
    append_any(ledger, "observation", {"step": 50})  # it goes on

    assert [row.kind for row in ledger.rows()[4:]] == ["scans", "note", "observation"]
    assert len(ledger.rows()[5].content["text"]) == room
    ledger.close()


def test_scans_that_cannot_be_remembered_leave_the_old_ones(run: str) -> None:
    ledger = opened(run)
    with pytest.raises(LedgerError, match="is too long"):
        ledger.remember("checkpoint-40", {"b.bin": ("stamp", "{}")}, read_at="x" * LONGEST)

    assert ledger.scans() == {("checkpoint-40", "a.bin"): ("stamp", "{}")}
    assert len(ledger.rows()) == 5
    ledger.close()


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(run: str) -> Iterator[Callable[[str], None]]:
    """``hold("BEGIN IMMEDIATE")``: another process holds the ledger from now on."""
    held = []

    def start(statement: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(file_of(run)), statement], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        held.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"

    yield start
    for process in held:
        process.communicate()


def test_a_ledger_that_another_process_writes_for_long_is_read_but_not_written(
    run: str, hold: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.ledger.store.WAIT_SECONDS", 0.05)
    hold("BEGIN IMMEDIATE")

    records, ledger = read_records(run, write=True)
    assert records.highest_reached == 40
    assert ledger is not None
    with pytest.raises(LedgerError, match="locked"):
        append_any(ledger, "observation", {"step": 50})
    ledger.close()


def test_a_ledger_that_another_process_has_for_itself_alone_is_unusable(
    run: str, hold: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.ledger.store.WAIT_SECONDS", 0.05)
    execute(run, "PRAGMA journal_mode = DELETE")
    hold("BEGIN EXCLUSIVE")

    assert "is locked by another process" in (read_records(run, write=True)[0].unusable or "")


def test_a_lock_is_waited_for_a_few_seconds_only() -> None:
    from audit.ledger.store import WAIT_SECONDS

    assert 1 <= WAIT_SECONDS <= 5


class Whole(NamedTuple):
    """A ledger's file and the rows in it."""

    path: Path
    rows: tuple[Row, ...]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    run = str(tmp_path_factory.mktemp("whole"))
    ledger = opened(run)
    for step in range(1, 60):
        append_any(ledger, "observation", {"step": step, "text": "x" * 200})
    append_any(
        ledger, "seal", {"checkpoint": "checkpoint-1", "step": 1, "files": {"a": [1, "0" * 64]}, "more": "y" * 9000}
    )
    ledger.remember("checkpoint-1", {"a": ("stamp", "[" * 6000)})
    rows = ledger.rows()
    ledger.close()
    return Whole(file_of(run), rows)


damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)


@examples(300)
@given(places=damage, cut=st.none() | st.floats(0, 1), header=st.booleans())
def test_damage_gives_a_reason_or_true_rows_from_the_first_on_and_never_a_crash(
    whole: Whole,
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[float, int]],
    cut: float | None,
    header: bool,
) -> None:
    run = str(tmp_path_factory.mktemp("damaged"))
    os.mkdir(f"{run}/.audit")
    data = bytearray(whole.path.read_bytes())
    for place, value in places:
        data[int(place * (120 if header else len(data)))] = value
    file_of(run).write_bytes(data[: int(cut * len(data))] if cut is not None else data)

    for write in (False, True):
        records, ledger = read_records(run, write)
        if not (records.unusable or records.edited):
            reader = open_ledger(run, write=False)
            rows = reader.rows() if reader is not None else ()
            assert rows == whole.rows[: len(rows)]  # that the last ones are missing cannot be seen
            if reader is not None:
                reader.close()
        if ledger is not None:
            with contextlib.suppress(LedgerError):
                append_any(ledger, "observation", {"step": 60})
            ledger.close()


def mounted(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """``mount("-o", "size=1m")``: a file system in memory; skips where this user may not mount."""
    places: list[str] = []

    def make(*options: str) -> str:
        place = tmp_path / f"mounted-{len(places)}"
        place.mkdir()
        if os.geteuid() != 0 or not mounted("-t", "tmpfs", *options, "tmpfs", str(place)):
            pytest.skip("may not mount here")
        places.append(str(place))
        return str(place)

    yield make
    for place in places:
        subprocess.run(["umount", "-l", place], check=True)


def test_on_a_read_only_file_system_an_existing_ledger_is_read(mount: Callable[..., str]) -> None:
    run = mount()
    ledger = opened(run)
    append_any(ledger, "observation", {"step": 7})
    ledger.close()
    assert mounted("-o", "remount,ro", run)

    records, none = read_records(run, write=True)

    assert (records.highest_reached, records.unusable, none) == (7, None, None)
    assert "cannot be written" in (records.unwritable or "")
    assert steps(run) == [7]


def test_on_a_read_only_file_system_a_missing_ledger_is_nothing_to_worry_about(mount: Callable[..., str]) -> None:
    run = mount("-o", "ro")

    with pytest.raises(LedgerUnwritableError, match="cannot be written"):
        open_ledger(run, write=True)
    records, _ = read_records(run, write=True)
    assert (records.unusable, records.edited) == (None, None)
    assert records.unwritable


def test_on_a_full_disk_a_missing_ledger_is_nothing_to_worry_about(mount: Callable[..., str]) -> None:
    run = mount("-o", "size=1m")
    fill(run, leave=0)

    for _ in range(2):  # the first try may leave an empty file
        records, ledger = read_records(run, write=True)
        assert (records.unusable, records.edited, ledger) == (None, None, None)
        assert "cannot be written" in (records.unwritable or "")


@pytest.mark.parametrize("pages", range(12))
def test_on_a_disk_that_fills_up_nothing_is_lost_and_nothing_half_written(
    mount: Callable[..., str], pages: int
) -> None:
    run = mount("-o", "size=1m")
    ledger = opened(run)
    append_any(ledger, "observation", {"step": 7})
    ledger.close()
    fill(run, leave=pages)

    records, again = read_records(run, write=True)
    assert (records.unusable, records.edited) == (None, None)
    assert records.highest_reached == 7
    written = 7
    if again is not None:
        for step in range(8, 40):
            try:
                append_any(again, "observation", {"step": step, "text": "x" * 3000})
                written = step
            except LedgerError:
                break
        again.close()
    assert steps(run)[-1] == written


def fill(run: str, leave: int) -> None:
    """Fill the file system but for some pages."""
    with open(os.path.join(run, "ballast"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
        os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size // 4096 * 4096 - leave * 4096)


def test_scans_of_several_checkpoints_get_other_stamps_one_at_a_time(run: str) -> None:
    ledger = opened(run)
    ledger.remember("checkpoint-50", {"b.bin": ("stamp", "{}")})
    ledger.restamp("checkpoint-40", lambda file, stamp: f"new {stamp}")
    ledger.close()

    stamps = {key[0]: scan[0] for key, scan in read_records(run, write=False)[0].scans.items()}
    assert stamps == {"checkpoint-40": "new stamp", "checkpoint-50": "stamp"}


def test_a_ledger_that_may_not_be_read_is_not_taken_for_something_else(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied") if path.endswith(".db") else FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)

    with pytest.raises(LedgerError, match="cannot be read: Permission denied"):
        open_ledger(run, write=False)
