import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.retention.lock import Holder, RunLock, holder_of

HOLD = """
import sys, time
from audit.retention.lock import RunLock
with RunLock(sys.argv[1], "trained"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(run: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_a_run_is_held_by_one_process_and_the_other_is_told_by_which(tmp_path: Path) -> None:
    child = hold(tmp_path)
    try:
        with pytest.raises(AuditError, match=rf"is being trained by process {child.pid} since 2\d\d\d-.*Z$"):
            RunLock(str(tmp_path), "pruned").__enter__()
        holder = holder_of(str(tmp_path))
        assert holder is not None
        assert holder.pid == child.pid
        assert holder.what == "trained"
    finally:
        end(child)


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    end(hold(tmp_path))
    assert holder_of(str(tmp_path)) is None
    with RunLock(str(tmp_path), "pruned") as lock:
        assert lock.held
        assert holder_of(str(tmp_path)) is not None


def test_after_the_statement_the_lock_is_free_and_says_nothing(tmp_path: Path) -> None:
    with RunLock(str(tmp_path), "trained") as lock:
        assert lock.unprotected is None
    assert not lock.held
    assert holder_of(str(tmp_path)) is None
    assert (tmp_path / ".audit" / "lock").read_bytes() == b""
    with lock:
        assert lock.held  # the same object may be used again


def test_a_process_that_holds_the_lock_cannot_take_it_again(tmp_path: Path) -> None:
    with RunLock(str(tmp_path), "trained"), pytest.raises(AuditError, match="is being trained by this process"):
        RunLock(str(tmp_path), "pruned").__enter__()


def test_a_child_that_was_given_the_descriptor_keeps_the_lock(tmp_path: Path) -> None:
    with RunLock(str(tmp_path), "trained") as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()])
    try:
        assert holder_of(str(tmp_path)) is not None
        with pytest.raises(AuditError, match="is being trained"):
            RunLock(str(tmp_path), "pruned").__enter__()
    finally:
        child.kill()
        child.wait()
    assert holder_of(str(tmp_path)) is None


def test_when_the_parent_is_killed_its_child_is_named_as_the_holder(tmp_path: Path) -> None:
    script = """
import os, signal, subprocess, sys
from audit.retention.lock import RunLock
with RunLock(sys.argv[1], "trained") as lock:
    null = subprocess.DEVNULL
    child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()], stdout=null, stderr=null)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    try:
        with pytest.raises(AuditError, match="that process has ended, but a child of it is still"):
            RunLock(str(tmp_path), "pruned").__enter__()
    finally:
        os.kill(int(parent.stdout), signal.SIGKILL)


def test_a_child_that_was_only_forked_does_not_keep_the_lock(tmp_path: Path) -> None:
    with RunLock(str(tmp_path), "trained"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert holder_of(str(tmp_path)) is None
    child.kill()
    child.wait()


def test_a_run_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    with RunLock(str(tmp_path / "new" / "run"), "trained"):
        assert (tmp_path / "new" / "run" / ".audit" / "lock").is_file()


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"pid": "1"}', '{"pid": -1}', "[" * 3000, '{"pid": true}'])
def test_whatever_stands_in_the_file_the_lock_decides(tmp_path: Path, text: str) -> None:
    (tmp_path / ".audit").mkdir()
    (tmp_path / ".audit" / "lock").write_text(text)
    assert holder_of(str(tmp_path)) is None
    with RunLock(str(tmp_path), "trained"):
        (tmp_path / ".audit" / "lock").write_text(text)
        assert holder_of(str(tmp_path)) == Holder()
        assert str(Holder()) == "is being worked on by another process"


def test_a_link_in_the_place_of_the_lock_is_refused_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / "run" / ".audit").mkdir(parents=True)
    (tmp_path / "run" / ".audit" / "lock").symlink_to(precious)
    with pytest.raises(AuditError, match="is a link"):
        RunLock(str(tmp_path / "run"), "trained").__enter__()
    assert precious.read_text() == "keep"
    assert holder_of(str(tmp_path / "run")) is None


def test_a_linked_audit_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".audit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match=r"\.audit: is a link"):
        RunLock(str(tmp_path / "run"), "trained").__enter__()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_fifo_in_the_place_of_the_lock_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / ".audit").mkdir()
    os.mkfifo(tmp_path / ".audit" / "lock")
    with pytest.raises(AuditError, match="is not a file"):
        RunLock(str(tmp_path), "trained").__enter__()
    assert stat.S_ISFIFO(os.lstat(tmp_path / ".audit" / "lock").st_mode)


def test_a_read_only_run_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(AuditError, match=r"lock: cannot be locked: Read-only file system$"):
        RunLock(str(tmp_path), "trained").__enter__()
    assert holder_of(str(tmp_path)) is None


def test_a_file_system_without_locks_is_said_and_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def lockless(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", lockless)
    with RunLock(str(tmp_path), "trained") as lock:
        assert lock.unprotected is not None
        assert "has no locks" in lock.unprotected


def test_the_descriptor_is_given_only_while_the_lock_is_held(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not held"):
        RunLock(str(tmp_path), "trained").fileno()


def test_the_name_of_another_machine_is_said() -> None:
    text = str(Holder(7, "elsewhere", "trained", "2026-11-21T12:30:00Z"))
    assert text == "is being trained by process 7 on elsewhere since 2026-11-21T12:30:00Z"
