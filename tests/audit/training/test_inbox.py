"""Data files: which are seen, which are whole, and that no move ever writes over another file."""

import contextlib
import fcntl
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.training import inbox
from audit.training.config import Data
from audit.training.data_files import DataFile, seen, waiting
from audit.training.inbox import Stillness, being_written, retire, set_aside, settled
from tests.audit.training.places import names, put

# -- What is whole ----------------------------------------------------------------------------------------------------


def aged(file: DataFile, seconds: float) -> DataFile:
    moment = time.time() - seconds
    os.utime(file.path, (moment, moment))
    again = seen(file.path, file.name)
    assert again is not None
    return again


def test_a_file_is_whole_once_it_stood_still(data: Data) -> None:
    file = put(data, "a.jsonl")
    assert settled(aged(file, 10), 2) == 0
    assert 0 < settled(aged(file, 1), 5) <= 4.01


def test_without_a_time_to_settle_everything_is_whole(data: Data) -> None:
    with Path(data.inbox, "a.jsonl").open("w"):
        (file,) = waiting(data)
        assert settled(file, 0) == 0


def test_of_a_clock_that_is_ahead_only_what_is_seen_counts(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    file, still = aged(put(data, "a.jsonl"), -86400), Stillness(2)
    assert still.left(file) == 2
    now[0] += 1.5
    assert still.left(file) == 0.5

    longer = aged(put(data, "a.jsonl", "longer text"), -86400)  # it grew
    assert still.left(longer) == 2
    now[0] += 2
    assert still.left(longer) == 0


def test_of_a_clock_that_is_a_little_ahead_no_more_is_waited_for(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    file, now = put(data, "a.jsonl"), [100.0]
    written = file.stamp[1] / 1e9
    monkeypatch.setattr(time, "time", lambda: written - 0.5)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    still = Stillness(2)
    assert still.left(file) == 2
    now[0] += 1
    assert still.left(file) == 1


def tells() -> bool:
    """Whether this system and file system tell who writes."""
    with tempfile.NamedTemporaryFile() as file:
        found = subprocess.run(["stat", "-f", "-c", "%T", file.name], capture_output=True, text=True, check=False)
    return sys.platform == "linux" and found.stdout.strip() in ("tmpfs", "xfs", "btrfs", "ext2/ext3")


linux = pytest.mark.skipif(not tells(), reason="a local file system of Linux alone tells")


@linux
def test_a_file_that_is_open_for_writing_is_not_whole_however_old(data: Data) -> None:
    file = aged(put(data, "a.jsonl"), 1000)
    with open(file.path, "a"):
        assert settled(file, 2) == 2
    assert settled(file, 2) == 0
    with open(file.path):  # a reader is no reason
        assert settled(file, 2) == 0


@linux
def test_looking_whether_a_file_is_open_disturbs_neither_its_writers_nor_this_process(data: Data) -> None:
    file = put(data, "a.jsonl", "")
    end = threading.Event()
    before = signal.getsignal(signal.SIGIO)

    def look() -> None:
        while not end.is_set():
            being_written(file.path)

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(300):
        with open(file.path, "a") as stream:
            stream.write(f"{number}\n")
    end.set()
    thread.join()
    assert Path(file.path).read_text().split() == [str(number) for number in range(300)]
    assert signal.getsignal(signal.SIGIO) is before


@linux
def test_a_program_that_opens_the_file_while_it_is_looked_at_does_not_end_this_process(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(data, "a.jsonl")
    control, got = fcntl.fcntl, []
    before = signal.signal(signal.SIGIO, lambda number, frame: got.append(number))

    def opened(descriptor: int, command: int, argument: int) -> int:
        result = control(descriptor, command, argument)
        if argument == fcntl.F_RDLCK:
            with contextlib.suppress(BlockingIOError):  # it waits until the lease is given back
                os.close(os.open(file.path, os.O_WRONLY | os.O_NONBLOCK))
        return result

    monkeypatch.setattr(fcntl, "fcntl", opened)
    try:
        assert not being_written(file.path)
    finally:
        signal.signal(signal.SIGIO, before)
    assert got == []


@linux
def test_where_nothing_says_what_the_file_system_is_no_file_waits_for_ever(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(data, "a.jsonl")

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    with open(file.path, "a"):
        monkeypatch.setattr(inbox, "open", refuse, raising=False)  # /proc is not mounted
        assert not being_written(file.path)


@linux
def test_looking_leaves_no_file_open_and_does_not_wait_for_what_is_no_file(data: Data) -> None:
    file = put(data, "a.jsonl")
    os.mkfifo(os.path.join(data.inbox, "fifo"))
    before = len(os.listdir("/proc/self/fd"))

    assert not being_written(file.path)
    with open(file.path, "a"):
        assert being_written(file.path)
    assert not being_written(os.path.join(data.inbox, "fifo"))
    assert len(os.listdir("/proc/self/fd")) == before


@linux
@pytest.mark.parametrize("name", ["F_SETLEASE", "F_SETSIG"])
def test_a_system_without_leases_knows_of_no_writer(name: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(data, "a.jsonl")
    monkeypatch.delattr(fcntl, name)
    with open(file.path, "a"):
        assert not being_written(file.path)


@linux
def test_what_another_file_system_is_says_nothing_of_this_one(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(data, "a.jsonl")
    device = os.stat(file.path).st_dev
    mine = f"{os.major(device)}:{os.minor(device)}"
    told = f"22 1 {mine} / /here rw shared:1 - nfs server rw\n23 1 999:999 / /there rw - ext4 /dev/disk rw\n"
    with open(file.path, "a"):
        monkeypatch.setattr(inbox, "open", lambda *_, **__: io.StringIO(told), raising=False)
        assert not being_written(file.path)
        told = told.replace("nfs", "xfs")
        assert being_written(file.path)


@linux
def test_where_the_file_system_cannot_know_who_writes_no_file_waits_for_ever(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(data, "a.jsonl")
    with open(file.path, "a"):
        assert being_written(file.path)
        monkeypatch.setattr(inbox, "LOCAL", frozenset({"another"}))
        assert not being_written(file.path)


def test_a_file_that_vanished_is_not_being_written(tmp_path: Path) -> None:
    assert not being_written(str(tmp_path / "gone.jsonl"))
    assert seen(str(tmp_path / "gone.jsonl"), "gone.jsonl") is None


# -- Where it goes ----------------------------------------------------------------------------------------------------


def test_a_move_never_writes_over_another_file(data: Data) -> None:
    for number in range(3):
        retire(put(data, "a.tar.jsonl", str(number)), data)
    assert {name: Path(data.done, name).read_text() for name in names(data.done)} == {
        "a.tar.jsonl": "0",
        "a.tar.1.jsonl": "1",
        "a.tar.2.jsonl": "2",
    }
    assert names(data.inbox) == []


def test_a_second_file_of_a_name_keeps_the_ending_of_what_is_compressed(data: Data) -> None:
    for content in ("0", "1"):
        for name in ("a.jsonl.gz", "a.json.zst", "a.gz"):
            retire(put(data, name, content), data)
    assert names(data.done) == ["a.1.gz", "a.1.json.zst", "a.1.jsonl.gz", "a.gz", "a.json.zst", "a.jsonl.gz"]


@pytest.mark.parametrize("taken", [Path.mkdir, lambda place: place.symlink_to("nowhere"), os.mkfifo])
def test_nor_over_what_is_no_file(taken: Callable[[Path], object], data: Data) -> None:
    os.mkdir(data.rejected)
    taken(Path(data.rejected, "a.jsonl"))
    assert set_aside(put(data, "a.jsonl"), data) == os.path.join(data.rejected, "a.1.jsonl")
    assert names(data.inbox) == []


def test_bytes_times_and_the_file_itself_stay_the_same(data: Data) -> None:
    file = aged(put(data, "a.jsonl"), 5000)
    to = set_aside(file, data)
    assert seen(to, file.name) == file._replace(path=to)


def test_deleted_where_the_configuration_says_so(data: Data) -> None:
    assert retire(put(data, "a.jsonl"), data._replace(after="delete")) is None
    assert names(data.inbox) == names(data.done) == []


def test_a_file_that_is_set_aside_is_never_deleted(data: Data) -> None:
    set_aside(put(data, "a.jsonl"), data._replace(after="delete"))
    assert names(data.rejected) == ["a.jsonl"]


def test_interrupted_between_link_and_unlink_the_next_call_ends_the_move(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(data, "a.jsonl")

    def die(path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            retire(file, data)
    assert names(data.inbox) == names(data.done) == ["a.jsonl"]

    assert retire(file, data) == os.path.join(data.done, "a.jsonl")
    assert (names(data.inbox), names(data.done)) == ([], ["a.jsonl"])


def no_links(*_: object, **__: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_where_no_link_can_be_made_nothing_is_written_over_either(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    for number in range(2):
        retire(put(data, "a.jsonl", str(number)), data)
    assert [Path(data.done, name).read_text() for name in ("a.jsonl", "a.1.jsonl")] == ["0", "1"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_to_another_file_system_a_file_is_copied_whole(data: Data, request: pytest.FixtureRequest) -> None:
    other = Path("/dev/shm", f"audit-test-{os.getpid()}")
    request.addfinalizer(lambda: shutil.rmtree(other, ignore_errors=True))
    if os.stat("/dev/shm").st_dev == os.stat(data.inbox).st_dev:
        pytest.skip("it is the same file system")
    there = data._replace(done=str(other))
    for number in range(2):
        retire(put(data, "a.jsonl", str(number) * 100_000), there)
    assert [(other / name).read_text() for name in ("a.jsonl", "a.1.jsonl")] == ["0" * 100_000, "1" * 100_000]
    assert names(data.inbox) == []


def test_a_copy_that_is_interrupted_leaves_nothing_and_one_that_was_whole_is_not_made_twice(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    file = put(data, "a.jsonl")

    def full(path: str, to: str) -> None:
        Path(to).write_text("te")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", full)
        with pytest.raises(AuditError, match=r"cannot be moved to .*: No space left on device"):
            retire(file, data)
    assert (names(data.inbox), names(data.done)) == (["a.jsonl"], [])

    shutil.copy2(file.path, os.path.join(data.done, "a.jsonl"))  # killed between the copy and the unlink
    assert retire(file, data) == os.path.join(data.done, "a.jsonl")
    assert (names(data.inbox), names(data.done)) == ([], ["a.jsonl"])


@pytest.mark.parametrize("links", [True, False])
def test_of_two_files_of_a_name_a_size_and_a_time_both_are_kept(
    links: bool, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for content in ("one", "two"):
        file = put(data, "a.jsonl", content)
        os.utime(file.path, (1e9, 1e9))
        retire(waiting(data)[0], data)
    assert [Path(data.done, name).read_text() for name in ("a.jsonl", "a.1.jsonl")] == ["one", "two"]


def test_a_copy_is_on_the_disk_before_the_original_goes(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    file = put(data, "a.jsonl", "x" * 1000)
    synced: list[tuple[bytes, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((os.pread(descriptor, 2000, 0), os.path.exists(file.path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    retire(file, data)
    assert synced == [(b"x" * 1000, True)]


def test_killed_again_and_again_before_its_second_name_is_gone_there_is_one_file_in_done(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_file_system(source: str, target: str, **unused: object) -> None:
        raise (
            FileExistsError(17, "File exists") if os.path.lexists(target) else OSError(18, "Invalid cross-device link")
        )

    def killed(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", other_file_system)
    file = put(data, "a.jsonl")
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", killed)
            with pytest.raises(KeyboardInterrupt):
                retire(file, data)
    assert retire(file, data) == os.path.join(data.done, "a.jsonl")
    assert (names(data.inbox), names(data.done)) == ([], ["a.jsonl"])

    Path(data.inbox, "a.jsonl").write_text("another")
    other = waiting(data)[0]
    assert retire(other, data) == os.path.join(data.done, "a.1.jsonl")


def test_a_link_is_moved_as_a_link_to_another_file_system(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    Path(data.inbox, "a.jsonl").symlink_to("/etc/passwd")
    moved = set_aside(waiting(data)[0], data)
    assert os.readlink(moved) == "/etc/passwd"


def test_a_link_is_moved_as_a_link(data: Data) -> None:
    target = put(data, "target")
    Path(data.inbox, "a.jsonl").symlink_to(target.path)
    moved = set_aside(waiting(data)[0], data)
    assert os.readlink(moved) == target.path
    assert os.stat(target.path).st_nlink == 1


def test_what_cannot_be_moved_is_said_in_one_line_and_stays(data: Data) -> None:
    Path(data.done).write_text("a file where the directory should be")
    with pytest.raises(AuditError, match=r"a\.jsonl: cannot be moved to .*done: File exists"):
        retire(put(data, "a.jsonl"), data)
    assert names(data.inbox) == ["a.jsonl"]


def test_a_file_that_is_gone_is_said_to_be(data: Data) -> None:
    file = put(data, "a.jsonl")
    os.unlink(file.path)
    with pytest.raises(AuditError, match="cannot be moved"):
        set_aside(file, data)
    with pytest.raises(AuditError, match="cannot be deleted: No such file or directory"):
        retire(file, data._replace(after="delete"))


def test_a_file_that_was_set_aside_before_stays_where_it_is(data: Data) -> None:
    place = set_aside(put(data, "a.jsonl"), data)
    file = seen(place, "a.jsonl")
    assert file is not None
    assert set_aside(file, data) == place
    assert names(data.rejected) == ["a.jsonl"]
