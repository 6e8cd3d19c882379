"""Snapshots: dated, verified copies of the newest proven checkpoint."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from audit import verify
from audit.errors import AuditError, RefusedError
from audit.findings import Severity
from audit.ledger.records import read_records
from audit.merging.ledger_rows import seal_base
from audit.merging.merge import Choices, merge
from audit.retention import copying
from audit.retention.pins import pin
from audit.retention.snapshots import snapshot
from audit.testing.judging import check
from audit.testing.runs import edit_state, make_run
from tests.audit.merging.models import make_merge

DAY = "2026-11-21"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A sound run of three checkpoints."""
    return make_run(tmp_path / "run")


@pytest.fixture
def dest(tmp_path: Path) -> str:
    return str(tmp_path / "snapshots")


def contents(home: str | Path) -> dict[str, tuple[str, int]]:
    """Digest and time of every file and directory."""
    found = {}
    for folder, _, names in os.walk(home):
        for name in (*names, "."):
            place = Path(folder, name)
            digest = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else ""
            found[os.path.relpath(place, home)] = (digest, place.stat().st_mtime_ns)
    return found


def inodes(home: str | Path) -> set[int]:
    return {os.stat(os.path.join(folder, name)).st_ino for folder, _, names in os.walk(home) for name in names}


def there(dest: str) -> list[str]:
    return sorted(
        os.path.join(day, name)
        for day in os.listdir(dest)
        for name in os.listdir(os.path.join(dest, day))
        if name != ".audit"
    )


# -- what is copied -------------------------------------------------------------------------------------------------


def test_the_newest_checkpoint_is_copied_whole_with_its_times_and_sealed(path: str, dest: str) -> None:
    done = snapshot(path, dest, today=DAY)

    assert (done.path, done.checkpoint, done.step) == (f"{dest}/{DAY}/checkpoint-300", "checkpoint-300", 300)
    assert (done.made, done.how, done.notes) == (True, "copy" if done.how == "copy" else "reflink", ())
    assert contents(done.path) == contents(os.path.join(path, "checkpoint-300"))
    assert not inodes(done.path) & inodes(path)
    report = verify(os.path.join(dest, DAY))
    assert (report.verdict, report.resume_from) == ("sound", "checkpoint-300")
    assert [item.sealed for item in report.checkpoints] == [True]


def test_the_run_is_not_changed_but_for_its_ledger(path: str, dest: str) -> None:
    before = {name: contents(os.path.join(path, name)) for name in os.listdir(path)}

    snapshot(path, dest)

    assert {name: contents(os.path.join(path, name)) for name in os.listdir(path) if name != ".audit"} == before
    assert all(item.sealed for item in verify(path).checkpoints)


def test_without_a_date_it_is_today(path: str, dest: str) -> None:
    before = time.strftime("%Y-%m-%d")
    snapshot(path, dest)
    assert os.listdir(dest)[0] in (before, time.strftime("%Y-%m-%d"))


def test_a_broken_newest_checkpoint_is_passed_over(path: str, dest: str) -> None:
    Path(path, "checkpoint-300", "optimizer.pt").unlink()
    assert snapshot(path, dest, today=DAY).checkpoint == "checkpoint-200"


def test_where_nothing_is_proven_nothing_is_made(path: str, dest: str) -> None:
    for step in (100, 200, 300):
        Path(path, f"checkpoint-{step}", "optimizer.pt").unlink()
    with pytest.raises(RefusedError, match="no checkpoint is proven; checkpoint-300: optimizer"):
        snapshot(path, dest)
    assert not os.path.exists(dest)


def test_a_pinned_checkpoint_that_rotation_deleted_counts(path: str, dest: str) -> None:
    verify(path)
    pin(path, "checkpoint-300")
    shutil.rmtree(os.path.join(path, "checkpoint-300"))

    done = snapshot(path, dest, today=DAY)

    assert done.checkpoint == "checkpoint-300"
    assert verify(os.path.join(dest, DAY)).verdict == "sound"


def test_a_pin_that_was_damaged_does_not(path: str, dest: str) -> None:
    verify(path)
    pin(path, "checkpoint-300")
    shutil.rmtree(os.path.join(path, "checkpoint-300"))
    Path(path, ".audit", "pinned", "checkpoint-300", "optimizer.pt").write_bytes(b"")

    assert snapshot(path, dest).checkpoint == "checkpoint-200"


def test_files_in_directories_and_links_inside_the_checkpoint_become_files(path: str, dest: str) -> None:
    home = Path(path, "checkpoint-300")
    (home / "extra" / "deep").mkdir(parents=True)
    (home / "empty").mkdir()
    (home / "extra" / "deep" / "notes.txt").write_text("hello")
    (home / "link.txt").symlink_to("extra/deep/notes.txt")

    copy = Path(snapshot(path, dest).path)

    assert (copy / "extra" / "deep" / "notes.txt").read_text() == "hello"
    assert (copy / "empty").is_dir()
    assert not (copy / "link.txt").is_symlink()
    assert (copy / "link.txt").read_text() == "hello"


def test_several_histories_of_which_none_is_the_newest_are_refused(tmp_path: Path, dest: str) -> None:
    path = make_run(tmp_path / "run", (100, 200))
    other = make_run(tmp_path / "other", (100, 200, 300), learning_rate=5e-3, seed=7)
    shutil.copytree(os.path.join(other, "checkpoint-300"), os.path.join(path, "checkpoint-300"))
    for step in (100, 200, 300):
        os.utime(os.path.join(path, f"checkpoint-{step}", "trainer_state.json"), ns=(10**18, 10**18))

    with pytest.raises(RefusedError, match="2 histories are mixed here"):
        snapshot(path, dest)


def test_of_two_histories_the_one_that_was_written_last_is_copied(tmp_path: Path, dest: str) -> None:
    path = make_run(tmp_path / "run", (100, 200))
    other = make_run(tmp_path / "other", (100, 200, 300), learning_rate=5e-3, seed=7)
    shutil.copytree(os.path.join(other, "checkpoint-300"), os.path.join(path, "checkpoint-300"))
    os.utime(os.path.join(path, "checkpoint-300", "trainer_state.json"), ns=(10**18, 10**18))

    assert snapshot(path, dest).checkpoint == "checkpoint-200"


# -- again ----------------------------------------------------------------------------------------------------------


def test_the_second_of_the_same_day_changes_nothing(path: str, dest: str) -> None:
    first = snapshot(path, dest, today=DAY)
    before = contents(dest)

    second = snapshot(path, dest, today=DAY)

    assert (second.made, second.how, second.path) == (False, "", first.path)
    assert contents(dest) == before


def test_a_newer_checkpoint_of_the_same_day_stands_beside_the_older_one(path: str, dest: str) -> None:
    os.rename(os.path.join(path, "checkpoint-300"), os.path.join(path, "later"))
    snapshot(path, dest, today=DAY)
    os.rename(os.path.join(path, "later"), os.path.join(path, "checkpoint-300"))

    assert snapshot(path, dest, today=DAY).made

    assert there(dest) == [f"{DAY}/checkpoint-200", f"{DAY}/checkpoint-300"]
    assert verify(os.path.join(dest, DAY)).verdict == "sound"


def test_the_next_day_has_a_directory_of_its_own(path: str, dest: str) -> None:
    assert snapshot(path, dest, today=DAY).made
    assert snapshot(path, dest, today="2026-11-22").made
    assert there(dest) == [f"{DAY}/checkpoint-300", "2026-11-22/checkpoint-300"]


@pytest.mark.parametrize("damage", ["changed", "gone", "more", "file"])
def test_another_one_of_that_name_is_refused_and_not_written_over(path: str, dest: str, damage: str) -> None:
    home = Path(snapshot(path, dest, today=DAY).path)
    optimizer = home / "optimizer.pt"
    if damage == "changed":
        data = bytearray(optimizer.read_bytes())
        data[len(data) // 2] ^= 1
        optimizer.write_bytes(bytes(data))
    elif damage == "gone":
        optimizer.unlink()
    elif damage == "more":
        (home / "more.txt").write_text("x")
    else:
        shutil.rmtree(home)
        home.write_text("x")
    before = contents(dest)

    with pytest.raises(RefusedError, match="already exists and is not what is proven now"):
        snapshot(path, dest, today=DAY)

    assert contents(dest) == before


def test_a_snapshot_whose_ledger_was_lost_gets_its_seal_again(path: str, dest: str) -> None:
    snapshot(path, dest, today=DAY)
    shutil.rmtree(os.path.join(dest, DAY, ".audit"))

    assert not snapshot(path, dest, today=DAY).made

    assert [item.sealed for item in verify(os.path.join(dest, DAY)).checkpoints] == [True]


# -- how ------------------------------------------------------------------------------------------------------------


def test_a_hard_link_shares_the_bytes_and_a_change_of_the_run_is_noticed(path: str, dest: str) -> None:
    done = snapshot(path, dest, how="link", today=DAY)
    assert done.how == "link"
    assert inodes(done.path) == inodes(os.path.join(path, "checkpoint-300"))

    # Trainer saves the step again: it writes into the files, and the snapshot changes with them.
    other = make_run(os.path.join(path, os.pardir, "other"), learning_rate=2e-4, seed=5)
    for name in os.listdir(done.path):
        data = Path(other, "checkpoint-300", name).read_bytes()
        with open(os.path.join(path, "checkpoint-300", name), "r+b") as file:
            file.truncate(0)
            file.write(data)

    assert check(os.path.join(dest, DAY), "integrity/seal-broken")


def test_a_copy_does_not_change_with_the_run(path: str, dest: str) -> None:
    done = snapshot(path, dest, today=DAY)
    before = contents(done.path)
    for name in os.listdir(done.path):
        with open(os.path.join(path, "checkpoint-300", name), "r+b") as file:
            file.truncate(0)

    assert contents(done.path) == before
    assert verify(os.path.join(dest, DAY)).verdict == "sound"


def test_the_default_is_never_a_hard_link(path: str, dest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "link")
    assert snapshot(path, dest).how in ("reflink", "copy")


def test_reflinks_where_there_are_none_are_one_clear_line(
    path: str, dest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "ioctl", none)
    with pytest.raises(AuditError, match=r"reflinks are not possible there .*; use --how copy"):
        snapshot(path, dest, how="reflink")
    assert not os.path.exists(dest)


def test_hard_links_to_another_file_system_are_one_clear_line(
    path: str, dest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", far)
    with pytest.raises(AuditError, match=r"hard links are not possible there .*; use --how copy"):
        snapshot(path, dest, how="link")
    assert not os.path.exists(dest)


def test_a_reflink_is_taken_where_it_works(path: str, dest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def clone(new: int, _: int, old: int) -> None:
        os.write(new, os.pread(old, 1 << 24, 0))

    monkeypatch.setattr(fcntl, "ioctl", clone)
    done = snapshot(path, dest)
    assert (done.how, contents(done.path)) == ("reflink", contents(os.path.join(path, "checkpoint-300")))


def test_an_unknown_way_or_date_is_refused(path: str, dest: str) -> None:
    with pytest.raises(AuditError, match="--how rsync: is not one of auto, link, reflink, copy"):
        snapshot(path, dest, how="rsync")
    with pytest.raises(AuditError, match="is not a date"):
        snapshot(path, dest, today="../../etc")
    assert not os.path.exists(dest)


# -- where ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("checkpoint-300", "inside checkpoint-300"),
        ("checkpoint-300/snapshots", "inside checkpoint-300"),
        ("checkpoint-best", "a trainer's rotation deletes checkpoint-best"),
        ("checkpoint-old/x", "a trainer's rotation deletes checkpoint-old"),
        ("tmp-checkpoint-1x", "a trainer's rotation deletes tmp-checkpoint-1x"),
        (".audit/snapshots", "own records"),
        (".", "is the run itself"),
        ("../link", "inside checkpoint-100"),
    ],
)
def test_a_place_that_rotation_or_the_audit_deletes_is_refused(path: str, place: str, reason: str) -> None:
    os.symlink(os.path.join(path, "checkpoint-100"), os.path.join(path, os.pardir, "link"))
    before = contents(path)

    with pytest.raises(RefusedError, match=reason):
        snapshot(path, os.path.join(path, place))

    assert contents(path) == before


def test_a_directory_of_another_name_inside_the_run_is_fine(path: str) -> None:
    assert snapshot(path, os.path.join(path, "snapshots")).made
    assert verify(path).verdict == "sound"


def test_a_file_in_the_place_of_the_destination_is_one_clear_line(path: str, dest: str) -> None:
    Path(dest).write_text("x")
    with pytest.raises(AuditError, match="cannot be made"):
        snapshot(path, dest)


def test_one_checkpoint_in_the_place_of_the_run_is_refused(path: str, dest: str) -> None:
    with pytest.raises(AuditError, match="is one checkpoint; give the run"):
        snapshot(os.path.join(path, "checkpoint-300"), dest)


# -- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_copy_that_is_not_what_was_proven_is_deleted(path: str, dest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = copying.copy_tree

    def careless(source: str, target: str, files: Sequence[str], directories: Sequence[str], how: str) -> str:
        way = sound(source, target, files, directories, how)
        with open(os.path.join(target, "adapter_model.safetensors"), "r+b") as file:
            file.seek(-2, os.SEEK_END)
            file.write(b"\xff")
        return way

    monkeypatch.setattr("audit.retention.snapshots.copy_tree", careless)
    with pytest.raises(AuditError, match=r"the copy is not what was proven \(adapter_model.safetensors is different\)"):
        snapshot(path, dest)
    assert not os.path.exists(dest)


def test_a_checkpoint_that_is_rotated_away_meanwhile_leaves_nothing(
    path: str, dest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = copying.copy_tree

    def late(source: str, target: str, files: Sequence[str], directories: Sequence[str], how: str) -> str:
        shutil.rmtree(source)
        return sound(source, target, files, directories, how)

    monkeypatch.setattr("audit.retention.snapshots.copy_tree", late)
    with pytest.raises(AuditError, match="was deleted or changed while it was copied; try again"):
        snapshot(path, dest)
    assert not os.path.exists(dest)


def test_a_disk_without_room_is_refused_before_it_is_full(
    path: str, dest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def full(place: str) -> os.statvfs_result:
        values = list(real(place))
        values[4] = 0
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", full)
    with pytest.raises(AuditError, match="no space left on device"):
        snapshot(path, dest, how="copy")
    assert not os.path.exists(dest)


def test_a_snapshot_does_not_miss_the_best_checkpoint_of_its_run(tmp_path: Path, dest: str) -> None:
    path = make_run(tmp_path / "run", load_best_model_at_end=True)
    for step in (100, 200, 300):
        best = os.path.join(path, "checkpoint-100")
        edit_state(os.path.join(path, f"checkpoint-{step}"), best_model_checkpoint=best)
    before = {item.rule for item in verify(path).findings if item.severity is not Severity.INFO}

    snapshot(path, dest, today=DAY)

    found = {item.rule for item in verify(os.path.join(dest, DAY)).findings if item.severity is not Severity.INFO}
    assert found <= before
    assert not found & {"rotation/best-deleted", "rotation/foreign-best"}


# -- interrupted ----------------------------------------------------------------------------------------------------

KILLED = """
import os, shutil, signal, sys
from audit.ledger.store import Ledger
from audit.retention.snapshots import snapshot

seen = 0

def deadly(function):
    def call(*arguments, **options):
        global seen
        seen += 1
        if seen == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("rename", "unlink", "rmdir", "mkdir", "fsync", "utime"):
    setattr(os, name, deadly(getattr(os, name)))
Ledger.append = deadly(Ledger.append)
snapshot(sys.argv[1], sys.argv[2], today="2026-11-20")
print(seen)
"""


def survives(path: str, home: Path, moments: Sequence[int]) -> int:
    """Kill at each of the moments; return how many of them were reached."""
    whole = contents(os.path.join(path, "checkpoint-300"))
    reached = 0
    for moment in moments:
        dest = str(home / f"dest-{moment}")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, path, dest, str(moment)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        reached += 1
        for name in there(dest) if os.path.isdir(dest) else ():
            assert name in ("2026-11-20/checkpoint-300", "2026-11-20/checkpoint-300.tmp"), moment
        if os.path.isdir(os.path.join(dest, "2026-11-20", "checkpoint-300")):
            assert contents(os.path.join(dest, "2026-11-20", "checkpoint-300")) == whole, moment
        snapshot(path, dest, today=DAY)  # on the next day: what the last one left is cleared all the same
        assert [name for name in there(dest) if name.endswith(".tmp")] == [], moment
        assert verify(os.path.join(dest, DAY)).verdict == "sound", moment
        snapshot(path, dest, today="2026-11-20")
        assert verify(os.path.join(dest, "2026-11-20")).verdict == "sound", moment
    return reached


def test_killed_at_some_moments_it_leaves_only_what_the_next_call_clears(path: str, tmp_path: Path) -> None:
    verify(path)
    assert survives(path, tmp_path, (3, 8, 16)) == 3


@pytest.mark.slow
def test_killed_at_every_moment_it_leaves_only_what_the_next_call_clears(path: str, tmp_path: Path) -> None:
    assert survives(path, tmp_path, range(1, 200)) > 20


def test_two_at_once_make_one(path: str, dest: str) -> None:
    verify(path)
    script = "import sys; from audit.retention.snapshots import snapshot; print(snapshot(*sys.argv[1:], today='2026-11-21').made)"
    both = [
        subprocess.Popen([sys.executable, "-c", script, path, dest], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(child.communicate()[0].strip() for child in both) == ["False", "True"]
    assert there(dest) == [f"{DAY}/checkpoint-300"]


def test_a_snapshot_knows_the_base_of_its_adapter(tmp_path: Path, dest: str) -> None:
    """It can be put in the place of the run, and is merged into that base and no other."""
    run, base = make_merge(tmp_path / "made")
    seal_base(run, base)
    made = snapshot(run, dest, today="2026-11-21")
    again = snapshot(run, dest, today="2026-11-21")

    records, _ = read_records(os.path.dirname(made.path), write=False)

    assert (made.notes, again.made) == ((), False)
    assert records.base == read_records(run, write=False)[0].base is not None
    with open(os.path.join(base, "model.safetensors"), "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\1\2\3\4")
    with pytest.raises(RefusedError, match="is not the file that the ledger"):
        merge(os.path.dirname(made.path), str(tmp_path / "merged"), Choices(base=base))
