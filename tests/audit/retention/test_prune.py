"""Pruning: what goes, what stays, and that no interruption loses anything."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from audit import guard, verify
from audit.audit_dir import TRASH
from audit.errors import AuditError, RefusedError
from audit.findings import Severity
from audit.ledger import events
from audit.ledger.batch_events import LegBegun
from audit.ledger.records import read_records
from audit.ledger.store import open_ledger
from audit.manager import load
from audit.retention.lock import RunLock
from audit.retention.prune import discard, prune
from audit.testing.runs import edit_state, make_run

STEPS = (100, 200, 300, 400, 500)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A sound run of five checkpoints."""
    return make_run(tmp_path / "run", STEPS)


def steps(path: str) -> list[int]:
    return sorted(int(name[11:]) for name in os.listdir(path) if name.startswith("checkpoint-"))


def break_it(path: str, step: int) -> None:
    Path(path, f"checkpoint-{step}", "optimizer.pt").unlink()


def age(path: str) -> None:
    """Nothing is being written: all that the trainer wrote is an hour old."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in (*names, "."):
            place = os.path.join(folder, name)
            info = os.stat(place)
            os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns - 3600 * 10**9))


def trees(path: str) -> dict[str, dict[str, str]]:
    """Digest of every file, by checkpoint."""
    return {
        f"checkpoint-{step}": {
            os.path.relpath(os.path.join(folder, name), path): hashlib.sha256(
                Path(folder, name).read_bytes()
            ).hexdigest()
            for folder, _, names in os.walk(os.path.join(path, f"checkpoint-{step}"))
            for name in names
        }
        for step in steps(path)
    }


def rows(path: str, kind: str) -> list[Any]:
    ledger = open_ledger(path, write=False)
    assert ledger is not None
    try:
        return [row.content for row in ledger.rows() if row.kind == kind]
    finally:
        ledger.close()


def troubles(path: str) -> set[str]:
    return {item.rule for item in verify(path).findings if item.severity is not Severity.INFO}


# -- what is chosen -------------------------------------------------------------------------------------------------


def test_the_newest_proven_ones_stay_and_older_ones_go(path: str) -> None:
    done = prune(path, 2)

    assert steps(path) == [400, 500]
    assert [item.checkpoint for item in done.removed] == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert [(item.checkpoint, item.reason) for item in done.kept] == [
        ("checkpoint-400", "proven"),
        ("checkpoint-500", "proven"),
    ]
    assert (done.cleared, done.notes) == (0, ())
    assert not os.path.lexists(os.path.join(path, TRASH))


def test_a_broken_new_checkpoint_does_not_count_and_is_not_touched(path: str) -> None:
    break_it(path, 500)

    prune(path, 1)

    assert steps(path) == [400, 500]


def test_a_broken_old_checkpoint_goes_with_the_others(path: str) -> None:
    break_it(path, 200)

    done = prune(path, 2)

    assert steps(path) == [400, 500]
    assert [item.proven for item in done.removed] == [True, False, True]


def test_nothing_is_removed_where_fewer_are_proven_than_are_to_be_kept(path: str) -> None:
    for step in (100, 300, 400, 500):
        break_it(path, step)

    with pytest.raises(RefusedError) as caught:
        prune(path, 2)

    assert steps(path) == list(STEPS)
    assert str(caught.value).startswith(
        f"{path}: none of the 5 checkpoints is removed: only 1 of the 2 to keep is proven; checkpoint-500: "
    )


def test_nothing_is_removed_where_nothing_is_proven_and_it_says_why(path: str) -> None:
    for step in STEPS:
        break_it(path, step)

    for dry_run in (True, False):
        with pytest.raises(RefusedError, match="none of the 5 checkpoints is removed: no checkpoint is proven; check"):
            prune(path, 4, dry_run=dry_run)
    done = prune(path, 5)

    assert steps(path) == list(STEPS)
    assert (done.removed, {item.reason for item in done.kept}) == ((), {"only 0 of the 5 to keep are proven"})


def test_the_last_proven_checkpoint_stays_though_it_is_the_oldest(path: str) -> None:
    for step in STEPS[1:]:
        break_it(path, step)

    prune(path, 1)

    assert steps(path) == list(STEPS)


def test_the_recorded_best_stays(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", STEPS, best=True)
    best = "checkpoint-100"
    edit_state(
        os.path.join(path, "checkpoint-500"), best_model_checkpoint=f"C:\\moved\\from\\{best}", best_global_step=100
    )

    done = prune(path, 1)

    assert steps(path) == [100, 500]
    assert done.kept[0] == (best, "the best according to checkpoint-500")


def test_the_best_step_stays_where_only_that_is_recorded(path: str) -> None:
    edit_state(os.path.join(path, "checkpoint-500"), best_model_checkpoint=None, best_global_step=200, best_metric=0.5)

    prune(path, 1)

    assert steps(path) == [200, 500]


def test_the_best_of_a_checkpoint_that_is_not_proven_stays_too(path: str) -> None:
    edit_state(os.path.join(path, "checkpoint-500"), best_model_checkpoint="run/checkpoint-100")
    break_it(path, 500)

    prune(path, 1)

    assert steps(path) == [100, 400, 500]


def test_the_best_by_the_logged_metric_stays_when_asked_for(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", STEPS, best=True)
    for step in STEPS:
        edit_state(
            os.path.join(path, f"checkpoint-{step}"),
            best_model_checkpoint=None,
            best_global_step=None,
            best_metric=None,
        )
    other = shutil.copytree(path, tmp_path / "other")

    asked = prune(path, 1, keep_best=True)
    plain = prune(str(other), 1)

    assert [item.checkpoint for item in plain.kept] == ["checkpoint-500"]
    assert {item.reason.split(",")[0] for item in asked.kept} <= {"proven", "the best eval_loss"}


def test_a_value_on_another_held_out_file_is_not_the_best(tmp_path: Path) -> None:
    """It is easier, or harder: the checkpoint that is best on the newest file would go instead."""
    path = make_run(tmp_path / "run", STEPS, best=True)
    values = {100: 0.1, 200: 0.2, 300: 5.0, 400: 6.0, 500: 7.0}

    def measured(log: Any) -> Any:
        return [{**item, "eval_loss": values[item["step"]]} if "eval_loss" in item else item for item in log]

    for step in STEPS:
        edit_state(
            os.path.join(path, f"checkpoint-{step}"),
            best_model_checkpoint=None,
            best_global_step=None,
            best_metric=None,
            log_history=measured,
        )
    verify(path)
    before = prune(path, 1, keep_best=True, dry_run=True)
    ledger = open_ledger(path, write=True)
    assert ledger is not None
    for first, digest in ((0, "e" * 64), (200, "f" * 64)):
        ledger.append(
            LegBegun(
                digest, "a.jsonl", 1, first, first + 300, 0, 8, 4, 1, None, 42, None, None, 1, None, held_out=digest
            )
        )
    ledger.close()

    after = prune(path, 1, keep_best=True)

    assert (before.kept[0].checkpoint, before.kept[0].reason) == ("checkpoint-100", "the best eval_loss, 0.1")
    assert [(item.checkpoint, item.reason) for item in after.kept] == [
        ("checkpoint-300", "the best eval_loss, 5"),
        ("checkpoint-500", "proven"),
    ]
    assert steps(path) == [300, 500]


def test_keep_below_one_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="at least one"):
        prune(path, 0)
    assert steps(path) == list(STEPS)


# -- when it is refused ---------------------------------------------------------------------------------------------


def test_a_run_that_is_trained_is_refused(path: str) -> None:
    with RunLock(path, "trained"):
        for dry_run in (False, True):
            with pytest.raises(RefusedError, match="is being trained by this process since"):
                prune(path, 1, dry_run=dry_run)
    assert steps(path) == list(STEPS)


def test_the_process_that_trains_may_prune_with_its_own_lock(path: str) -> None:
    with RunLock(path, "trained") as lock:
        prune(path, 1, lock=lock)
        assert lock.held
    assert steps(path) == [500]


def test_a_checkpoint_that_is_being_written_refuses_it(path: str) -> None:
    age(path)
    Path(path, "checkpoint-600").mkdir()
    Path(path, "checkpoint-600", "model.safetensors").write_bytes(b"x")

    with pytest.raises(RefusedError, match="checkpoint-600 is being written right now; nothing is removed"):
        prune(path, 1)

    assert steps(path) == [*STEPS, 600]


def test_a_save_that_was_cut_off_long_ago_does_not(path: str) -> None:
    Path(path, "checkpoint-600").mkdir()
    Path(path, "checkpoint-600", "model.safetensors").write_bytes(b"x")
    age(path)

    prune(path, 1)

    assert steps(path) == [500, 600]


def test_two_histories_side_by_side_are_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", (100, 200))
    other = make_run(tmp_path / "other", (100, 200, 300), learning_rate=5e-3, seed=7)
    shutil.copytree(os.path.join(other, "checkpoint-300"), os.path.join(path, "checkpoint-300"))

    with pytest.raises(RefusedError, match="2 histories are mixed here"):
        prune(path, 1)

    assert steps(path) == [100, 200, 300]


def test_a_ledger_that_was_edited_is_refused(path: str) -> None:
    import sqlite3

    verify(path)
    with sqlite3.connect(os.path.join(path, ".audit", "ledger.db")) as connection:
        connection.execute("UPDATE rows SET content = '{}' WHERE number = 1")
    connection.close()

    with pytest.raises(RefusedError, match="the history was edited; so nothing is removed"):
        prune(path, 1)

    assert steps(path) == list(STEPS)


def test_a_link_in_the_place_of_the_trash_is_refused_and_nothing_in_it_is_deleted(path: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    Path(path, ".audit").mkdir()
    Path(path, TRASH).symlink_to(precious)

    with pytest.raises(AuditError, match="trash: is a link"):
        prune(path, 1)

    assert (precious / "file").read_text() == "keep"
    assert steps(path) == list(STEPS)


def test_links_inside_a_removed_checkpoint_are_not_followed(path: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    Path(path, "checkpoint-100", "extra").symlink_to(precious)

    prune(path, 1)

    assert steps(path) == [500]
    assert (precious / "file").read_text() == "keep"


def test_a_checkpoint_that_is_a_link_is_no_checkpoint_and_stays(path: str, tmp_path: Path) -> None:
    os.rename(os.path.join(path, "checkpoint-100"), tmp_path / "elsewhere")
    Path(path, "checkpoint-100").symlink_to(tmp_path / "elsewhere")

    prune(path, 1)

    assert steps(path) == [100, 500]
    assert (tmp_path / "elsewhere" / "optimizer.pt").is_file()


def test_what_changes_while_it_is_judged_refuses_it(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.retention import prune as retention

    monkeypatch.setattr(retention, "moved", lambda _: frozenset({"checkpoint-500"}))

    with pytest.raises(RefusedError, match="checkpoint-500 changed while it was judged"):
        prune(path, 1)

    assert steps(path) == list(STEPS)


def test_what_stays_is_brought_to_the_disk_before_anything_goes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_disk(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken_disk)

    with pytest.raises(RefusedError, match=r"cannot be flushed to the disk \(Input/output error\); nothing is removed"):
        prune(path, 1)

    assert steps(path) == list(STEPS)


# -- what is left behind --------------------------------------------------------------------------------------------


def test_a_dry_run_leaves_no_trace(path: str) -> None:
    before = trees(path)

    done = prune(path, 2, dry_run=True)

    assert [item.checkpoint for item in done.removed] == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert trees(path) == before
    assert not os.path.lexists(os.path.join(path, ".audit"))


def test_what_was_removed_stands_in_the_ledger_and_is_no_gap(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", STEPS)
    for step in STEPS:  # a best that no state of the files is known by: the metric's
        edit_state(os.path.join(path, f"checkpoint-{step}"), best_global_step=100)
    verify(path)
    forgetful = shutil.copytree(path, tmp_path / "forgetful")

    prune(path, 2)
    for step in (200, 300):
        shutil.rmtree(forgetful / f"checkpoint-{step}")

    assert steps(path) == [100, 400, 500]
    assert [row["pruned"] for row in rows(path, "pruned")] == [200, 300]
    assert troubles(path) == set()
    assert troubles(str(forgetful)) == {"steps/gap"}


def test_a_pruned_run_is_not_behind_and_the_guard_goes_on_as_before(path: str) -> None:
    verify(path)

    prune(path, 1)

    assert str(guard(path)) == os.path.join(path, "checkpoint-500")
    assert troubles(path) == set()


def test_pins_and_the_quarantine_are_not_touched(path: str) -> None:
    for home in ("pinned", "quarantine"):
        shutil.copytree(os.path.join(path, "checkpoint-100"), os.path.join(path, ".audit", home, "checkpoint-100"))

    prune(path, 1)

    assert steps(path) == [500]
    for home in ("pinned", "quarantine"):
        assert os.path.isfile(os.path.join(path, ".audit", home, "checkpoint-100", "optimizer.pt"))


def test_what_an_interrupted_call_left_in_the_trash_is_deleted_by_the_next_one(path: str) -> None:
    os.makedirs(os.path.join(path, TRASH))
    os.rename(os.path.join(path, "checkpoint-100"), os.path.join(path, TRASH, "checkpoint-100"))

    done = prune(path, 5)

    assert (done.cleared, done.removed) == (1, ())
    assert not os.path.lexists(os.path.join(path, TRASH))


def test_a_trash_that_cannot_be_emptied_is_a_note_and_the_next_call_tries_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(16, "Device or resource busy")

        broken.setattr(shutil, "rmtree", refuse)
        assert "the next call tries again" in prune(path, 4).notes[0]
    assert steps(path) == [200, 300, 400, 500]

    assert prune(path, 4).cleared == 1
    assert not os.path.lexists(os.path.join(path, TRASH))


def test_on_a_full_disk_room_is_made_first_and_recorded_afterwards(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.ledger.store import Ledger, LedgerError
    from audit.retention import prune as retention

    append = Ledger.append

    def full(self: Ledger, event: "events.Event", durable: bool = False) -> None:
        if isinstance(event, events.Pruned) and os.path.isdir(os.path.join(path, TRASH)):
            raise LedgerError("database or disk is full")
        append(self, event, durable)

    monkeypatch.setattr(Ledger, "append", full)
    monkeypatch.setattr(retention, "_is_full", lambda _: True)

    assert prune(path, 3).notes == ()
    assert steps(path) == [300, 400, 500]
    assert [row["pruned"] for row in rows(path, "pruned")] == [100, 200]


def test_where_not_even_a_directory_can_be_made_room_is_made_all_the_same(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(path)
    make = os.makedirs

    def full(place: str, *arguments: Any, **options: Any) -> None:
        if place.endswith("trash"):
            raise OSError(28, "No space left on device")
        make(place, *arguments, **options)

    monkeypatch.setattr(os, "makedirs", full)

    assert len(prune(path, 2).removed) == 3
    assert steps(path) == [400, 500]
    assert not os.path.lexists(os.path.join(path, TRASH))
    assert troubles(path) == set()


def test_a_ledger_that_fails_for_another_reason_stops_it(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.ledger.store import Ledger, LedgerError

    append = Ledger.append

    def locked(self: Ledger, event: "events.Event", durable: bool = False) -> None:
        if isinstance(event, events.Pruned):
            raise LedgerError("is locked by another process")
        append(self, event, durable)

    monkeypatch.setattr(Ledger, "append", locked)

    with pytest.raises(AuditError, match="locked by another process; so checkpoint-100 is not removed"):
        prune(path, 1)

    assert steps(path) == list(STEPS)


# -- killed at any moment -------------------------------------------------------------------------------------------

KILLED = """
import os, shutil, signal, sys
from audit.ledger.store import Ledger
from audit.retention.prune import discard, prune

path, moment = sys.argv[1], int(sys.argv[2])
seen = 0

def deadly(function):
    def call(*arguments, **options):
        global seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("rename", "unlink", "rmdir", "mkdir"):
    setattr(os, name, deadly(getattr(os, name)))
Ledger.append = deadly(Ledger.append)
prune(path, 2)
print(seen)
"""


def killed(path: str, moment: int) -> int:
    """Prune in a process that is killed at that event; return the number of events where it was over before."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path, str(moment)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return int(done.stdout) if done.returncode == 0 else 0


def survives(source: str, home: Path, moments: Sequence[int]) -> int:
    """Kill at each of the moments; return how many of them were reached."""
    whole = trees(source)
    reached = 0
    for moment in moments:
        path = str(shutil.copytree(source, home / f"run-{moment}"))
        if killed(path, moment):
            break
        reached += 1
        left = trees(path)
        assert {400, 500, 100} <= set(steps(path)), moment
        assert left == {name: whole[name] for name in left}, moment  # whole, or out of the way
        assert str(guard(path)) == os.path.join(path, "checkpoint-500"), moment
        prune(path, 2)
        assert steps(path) == [100, 400, 500], moment
        assert not os.path.lexists(os.path.join(path, TRASH)), moment
        assert troubles(path) == set(), moment
        shutil.rmtree(path)
    return reached


@pytest.fixture
def valued(tmp_path: Path) -> str:
    """A run whose oldest checkpoint is the best."""
    path = make_run(tmp_path / "valued", STEPS)
    for step in STEPS:
        edit_state(
            os.path.join(path, f"checkpoint-{step}"),
            best_model_checkpoint="valued/checkpoint-100",
            best_global_step=100,
        )
    verify(path)
    return path


def test_killed_at_some_moments_nothing_that_matters_is_lost(valued: str, tmp_path: Path) -> None:
    assert survives(valued, tmp_path, (2, 4, 8)) == 3


@pytest.mark.slow
def test_killed_at_every_moment_nothing_that_matters_is_lost(valued: str, tmp_path: Path) -> None:
    assert survives(valued, tmp_path, range(1, 200)) > 20


def test_two_at_once_do_not_meet(path: str) -> None:
    script = "import sys; from audit.retention.prune import prune; print(len(prune(sys.argv[1], 1).removed))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ended = [child.communicate() for child in both]

    for child, (_, err) in zip(both, ended, strict=True):
        assert child.returncode == 0 or "is being pruned by process" in err
    assert any(child.returncode == 0 for child in both)
    assert steps(path) == [500]


def test_the_registry_may_be_given(path: str) -> None:
    assert len(prune(path, 1, registry=load()).removed) == 4


def test_a_checkpoint_in_the_place_of_the_run_is_refused(path: str) -> None:
    with pytest.raises(AuditError, match="is one checkpoint; give the run"):
        prune(os.path.join(path, "checkpoint-100"), 1)
    assert not os.path.lexists(os.path.join(path, ".audit"))


# -- one checkpoint, because its copy elsewhere was proven --------------------------------------------------------


def test_one_checkpoint_is_removed_and_recorded_whichever_it_is(path: str) -> None:
    newest = max(Path(path).glob("checkpoint-*"), key=lambda item: int(item.name.split("-")[1])).name

    assert discard(path, newest).proven

    assert not Path(path, newest).exists()
    assert int(newest.split("-")[1]) in read_records(path, write=False)[0].pruned
    with pytest.raises(AuditError, match="no such checkpoint"):
        discard(path, newest)


def test_it_is_refused_while_the_run_is_trained(path: str) -> None:
    with RunLock(path, "trained"), pytest.raises(RefusedError, match="is being trained"):
        discard(path, "checkpoint-100")
    assert Path(path, "checkpoint-100").is_dir()
