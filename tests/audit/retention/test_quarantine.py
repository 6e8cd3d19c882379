"""Moving broken checkpoints aside and back: nothing is lost, nothing is written over, no time stamp changes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from audit import AuditError, ResumeRefused, Severity, guard, verify
from audit.audit_dir import QUARANTINE
from audit.facts.run import Run, open_run
from audit.findings import Finding
from audit.judging.auditor import Auditor
from audit.ledger.records import read_records
from audit.ledger.store import open_ledger
from audit.manager import load
from audit.options import Options
from audit.retention import quarantine as home
from audit.retention.quarantine import choose, held, isolate, obstacles, restore, wanted
from audit.testing.runs import make_run


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A run of three checkpoints, the newest without its optimizer; nothing about it is fresh."""
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    return run


def judged(path: str, **options: object) -> tuple[Run, tuple[Finding, ...]]:
    registry = load()
    run = open_run(path, registry.backends, **options)
    return run, Auditor(Options(), registry).report(run).findings


def move(path: str, *names: str, force: bool = False) -> list[str]:
    """Move what may be moved; return the places."""
    run, findings = judged(path)
    choice = choose(run, findings, names, force)
    assert not choice.refused
    _, ledger = read_records(path, write=True)
    assert ledger is not None
    try:
        return [item.place for item in isolate(run, choice.candidates, ledger)]
    finally:
        ledger.close()


def back(path: str, *names: str) -> list[str]:
    _, ledger = read_records(path, write=True)
    assert ledger is not None
    try:
        return [item.name for item in restore(path, wanted(path, names), ledger, 0)]
    finally:
        ledger.close()


def snapshot(path: str) -> Mapping[str, tuple[int, int, int]]:
    """Inode, size and time of everything in the checkpoints."""
    found = {}
    for folder, _, files in os.walk(path):
        for name in (*files, ""):
            info = os.lstat(os.path.join(folder, name).rstrip("/"))
            if "checkpoint-" in folder:
                found[os.path.join(folder, name).replace(QUARANTINE + "/", "")] = (
                    info.st_ino,
                    info.st_size,
                    info.st_mtime_ns,
                )
    return found


def rows(path: str) -> list[Mapping[str, object]]:
    ledger = open_ledger(path, write=False)
    assert ledger is not None
    try:
        return [row.content for row in ledger.rows() if row.kind == "quarantine"]
    finally:
        ledger.close()


def test_a_broken_checkpoint_is_moved_and_the_run_is_sound_then(path: str) -> None:
    assert verify(path).verdict == "broken"

    assert move(path) == ["checkpoint-300"]

    assert sorted(os.listdir(path)) == [".audit", "checkpoint-100", "checkpoint-200"]
    report = verify(path)
    assert (report.verdict, report.resume_from) == ("sound", "checkpoint-200")


def test_moving_and_restoring_changes_no_byte_no_inode_and_no_time(path: str) -> None:
    before = snapshot(path)

    move(path)
    moved = snapshot(path)
    back(path)

    assert moved == before
    assert snapshot(path) == before
    assert os.listdir(os.path.join(path, QUARANTINE)) == []


def test_a_file_system_that_touches_the_directory_on_a_rename_gets_the_time_set_back(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(path)
    rename = os.rename

    def touching(source: str, target: str) -> None:
        rename(source, target)
        os.utime(target)

    monkeypatch.setattr(os, "rename", touching)
    move(path)

    assert snapshot(path) == before


def test_the_ledger_holds_what_was_moved_why_and_where_the_run_is_then(path: str) -> None:
    verify(path)
    move(path)

    (row,) = rows(path)
    assert (row["action"], row["checkpoint"], row["step"]) == ("moved", "checkpoint-300", 200)
    assert "files/missing-optimizer" in str(row["reason"])
    assert read_records(path, write=False)[0].highest_reached == 200


def test_every_broken_one_is_chosen_also_behind_the_newest_that_is_good(path: str) -> None:
    Path(path, "checkpoint-100", "scheduler.pt").unlink()

    choice = choose(*judged(path))

    assert [item.checkpoint.name for item in choice.candidates] == ["checkpoint-300", "checkpoint-100"]


def test_a_checkpoint_that_was_not_written_to_its_end_is_chosen_once_it_is_settled(path: str) -> None:
    Path(path, "checkpoint-300", "trainer_state.json").unlink()
    run = open_run(path, load().backends)
    newest = max(entry.mtime_ns for entry in run.checkpoints[-1].entries.values())

    def chosen(after: float) -> list[str]:
        return [item.checkpoint.name for item in choose(*judged(path, now_ns=newest + int(after * 1e9))).candidates]

    assert (chosen(1.0), chosen(120.0)) == ([], ["checkpoint-300"])


def test_a_checkpoint_that_is_being_written_is_not_moved_by_force_either(path: str) -> None:
    Path(path, "checkpoint-300", "trainer_state.json").unlink()

    choice = choose(*judged(path), ["checkpoint-300"], force=True)

    assert choice.candidates == ()
    assert choice.refused == {"checkpoint-300": "is being written right now"}


def test_a_sound_one_needs_force(path: str) -> None:
    assert list(choose(*judged(path), ["checkpoint-200"]).refused) == ["checkpoint-200"]

    assert move(path, "checkpoint-200", force=True) == ["checkpoint-200"]


def test_force_without_a_name_moves_no_sound_one(path: str) -> None:
    choice = choose(*judged(path), force=True)

    assert [item.checkpoint.name for item in choice.candidates] == ["checkpoint-300"]


def test_a_finding_against_the_whole_run_breaks_no_checkpoint(path: str) -> None:
    run, _ = judged(path)
    whole = Finding("a/b", Severity.ERROR, None, None, "The run is cursed", None, None, "Pray.", True)

    assert choose(run, [whole]).candidates == ()


def test_the_last_one_is_not_moved_since_a_trainer_would_start_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=[100])
    Path(run, "checkpoint-100", "optimizer.pt").unlink()

    assert list(choose(*judged(run)).refused) == ["checkpoint-100"]
    assert choose(*judged(run), force=True).refused == {}


def test_a_run_whose_checkpoints_are_all_in_quarantine_is_no_fresh_start(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=[100])
    move(run, "checkpoint-100", force=True)
    with pytest.raises(ResumeRefused):
        guard(run)
    for name in os.listdir(os.path.join(run, ".audit")):
        if name.startswith("ledger"):
            os.unlink(os.path.join(run, ".audit", name))

    with pytest.raises(ResumeRefused, match="in quarantine"):
        guard(run)


def test_a_second_one_of_the_same_name_is_kept_beside_the_first(path: str, tmp_path: Path) -> None:
    first = snapshot(os.path.join(path, "checkpoint-300")).values()
    move(path)
    other = make_run(tmp_path / "other", seed=1)
    os.rename(os.path.join(other, "checkpoint-300"), os.path.join(path, "checkpoint-300"))
    Path(path, "checkpoint-300", "scheduler.pt").unlink()
    second = snapshot(os.path.join(path, "checkpoint-300")).values()

    assert move(path, "checkpoint-300") == ["checkpoint-300.1"]

    assert [item.place for item in held(path)] == ["checkpoint-300", "checkpoint-300.1"]
    both = wanted(path, ())
    assert list(obstacles(path, both)) == ["checkpoint-300", "checkpoint-300.1"]
    assert back(path, "checkpoint-300.1") == ["checkpoint-300"]
    assert list(snapshot(os.path.join(path, "checkpoint-300")).values()) == list(second)
    assert list(obstacles(path, wanted(path, ()))) == ["checkpoint-300"]
    assert list(snapshot(os.path.join(path, QUARANTINE, "checkpoint-300")).values()) == list(first)


def test_restore_never_writes_over_a_checkpoint(path: str) -> None:
    move(path)
    Path(path, "checkpoint-300").mkdir()

    with pytest.raises(AuditError, match="already exists"):
        back(path)

    assert [item.place for item in held(path)] == ["checkpoint-300"]


def test_the_reasons_are_remembered(path: str) -> None:
    move(path)
    ledger = open_ledger(path, write=False)
    assert ledger is not None

    (item,) = held(path, ledger)
    ledger.close()

    assert item.reason.endswith("(files/missing-optimizer)")
    assert item.time.endswith("Z")


def test_a_step_that_was_lost_before_is_not_forgotten_by_a_quarantine(path: str) -> None:
    verify(path)
    for file in Path(path, "checkpoint-300").iterdir():
        file.unlink()
    Path(path, "checkpoint-300").rmdir()
    Path(path, "checkpoint-200", "optimizer.pt").unlink()

    assert move(path) == ["checkpoint-200"]

    assert read_records(path, write=False)[0].highest_reached == 300
    assert "steps/reset" in {item.rule for item in verify(path).findings}


# -- when something goes wrong --------------------------------------------------------------------------------------


def test_interrupted_between_two_moves_the_rest_is_moved_by_the_next_call(path: str) -> None:
    Path(path, "checkpoint-200", "scheduler.pt").unlink()
    verify(path)
    before = snapshot(path)
    run, findings = judged(path)
    _, ledger = read_records(path, write=True)
    moves = isolate(run, choose(run, findings).candidates, ledger)
    assert next(moves).place == "checkpoint-300"
    moves.close()
    assert ledger is not None
    ledger.close()

    assert "steps/reset" not in {item.rule for item in verify(path).findings}
    assert move(path) == ["checkpoint-200"]
    assert snapshot(path) == before
    assert verify(path).verdict == "sound"


def test_killed_between_the_row_and_the_rename_nothing_is_lost(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verify(path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home, "_rename", killed)
        with pytest.raises(KeyboardInterrupt):
            move(path)

    assert held(path) == ()
    report = verify(path)
    assert {item.rule for item in report.findings} == {"files/missing-optimizer"}
    assert read_records(path, write=False)[0].highest_reached == 300
    assert move(path) == ["checkpoint-300"]


def test_a_rename_that_fails_leaves_the_step_where_it_was(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verify(path)

    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        with pytest.raises(AuditError, match="cross-device"):
            move(path)

    assert read_records(path, write=False)[0].highest_reached == 300
    assert os.path.isdir(os.path.join(path, "checkpoint-300"))


def test_a_checkpoint_that_was_saved_anew_while_it_was_judged_is_not_moved(path: str) -> None:
    run, findings = judged(path)
    choice = choose(run, findings)
    Path(path, "checkpoint-300", "optimizer.pt").write_bytes(b"here it comes")

    with pytest.raises(AuditError, match="while it was judged"):
        list(isolate(run, choice.candidates, None))

    assert os.path.isdir(os.path.join(path, "checkpoint-300"))


def test_one_that_rotation_deleted_meanwhile_is_passed_over(path: str) -> None:
    run, findings = judged(path)
    choice = choose(run, findings)
    os.rename(os.path.join(path, "checkpoint-300"), os.path.join(path, "gone"))

    assert list(isolate(run, choice.candidates, None)) == []


@pytest.mark.parametrize("place", [".audit", QUARANTINE])
def test_a_link_in_place_of_the_quarantine_is_refused(path: str, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = Path(path, place)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "elsewhere")
    run, findings = judged(path)

    with pytest.raises(AuditError, match="is a link"):
        list(isolate(run, choose(run, findings).candidates, None))
    with pytest.raises(AuditError, match="is a link"):
        held(path)

    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_checkpoint_that_is_a_link_is_refused(path: str, tmp_path: Path) -> None:
    os.rename(os.path.join(path, "checkpoint-300"), tmp_path / "checkpoint-300")
    Path(path, "checkpoint-300").symlink_to(tmp_path / "checkpoint-300")

    with pytest.raises(AuditError, match="is a link"):
        choose(*judged(path), ["checkpoint-300"])


def test_a_link_in_the_quarantine_is_not_held(path: str, tmp_path: Path) -> None:
    move(path)
    Path(path, QUARANTINE, "checkpoint-400").symlink_to(tmp_path)
    Path(path, QUARANTINE, "notes").mkdir()

    assert [item.name for item in held(path)] == ["checkpoint-300"]


MOVER = """
import sys
from audit.cli import run
sys.stdin.readline()
sys.exit(run(sys.argv[1:]))
"""


def at_once(path: str, *arguments: str) -> list[tuple[int, str, str]]:
    """Two processes that begin together; (exit code, stdout, stderr) of each."""
    command = [sys.executable, "-c", MOVER, "quarantine", path, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = []
    for process in both:
        out, err = process.communicate()
        found.append((process.returncode, out, err))
    return found


def test_two_processes_at_once_move_and_restore_each_checkpoint_once(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", steps=range(100, 1300, 100))
    for step in range(200, 1300, 100):
        Path(path, f"checkpoint-{step}", "optimizer.pt").unlink()
    before = snapshot(path)

    moved = at_once(path)

    assert [(code, err) for code, _, err in moved] == [(0, ""), (0, "")]
    lines = sorted(line.split()[1] for _, out, _ in moved for line in out.splitlines() if line.startswith("moved"))
    assert lines == sorted(f"checkpoint-{step}" for step in range(200, 1300, 100))
    assert sorted(item.place for item in held(path)) == lines
    assert snapshot(path) == before

    at_once(path, "--restore")

    assert (held(path), snapshot(path)) == ((), before)


def test_no_place_is_written_over_whatever_the_order(path: str) -> None:
    os.makedirs(os.path.join(path, QUARANTINE, "checkpoint-300"))
    os.makedirs(os.path.join(path, QUARANTINE, "checkpoint-300.1"))

    assert move(path) == ["checkpoint-300.2"]

    assert [item.place for item in held(path)] == ["checkpoint-300", "checkpoint-300.1", "checkpoint-300.2"]
    assert os.listdir(os.path.join(path, QUARANTINE, "checkpoint-300")) == []
