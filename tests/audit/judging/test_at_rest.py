"""A trainer that saves and rotates while its run is read: what it is doing is never called damage."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import audit.judging.auditor
import audit.judging.engine
import audit.scan
from audit.api import guard, verify
from audit.findings import Severity
from audit.options import Options
from audit.report import Report
from audit.scan import ScanJob
from audit.storage import ContextReader, Entry, LocalStorage
from audit.testing.runs import make_run
from tests.dcp import make_sharded

HOUR = 3_600_000_000_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run"))


def grow_old(run: Path, hours: int = 1) -> None:
    """Set the times of all that lies in a run back."""
    for place in [*run.rglob("*"), run]:
        then = place.stat().st_mtime_ns - hours * HOUR
        os.utime(place, ns=(then, then))


def at_opening(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """Have ``act`` called with the path of every file before it is opened."""
    real = LocalStorage.open

    def opened(self: LocalStorage, path: str) -> ContextReader:
        act(path)
        return real(self, path)

    monkeypatch.setattr(LocalStorage, "open", opened)


def blamed(report: Report) -> list[tuple[str, str | None]]:
    return [(item.rule, item.checkpoint) for item in report.findings if item.severity is not Severity.INFO]


def test_a_checkpoint_that_rotation_deletes_while_it_is_read_is_no_more_in_the_report(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate(path: str) -> None:
        if path == "checkpoint-100/optimizer.pt":
            shutil.rmtree(run / "checkpoint-100")

    at_opening(monkeypatch, rotate)
    report = verify(str(run))

    assert (report.verdict, [item.name for item in report.checkpoints]) == (
        "sound",
        ["checkpoint-200", "checkpoint-300"],
    )


def test_a_checkpoint_that_is_deleted_after_it_was_read_is_not_handed_out(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = audit.judging.engine.judge

    def judge(*arguments: Any) -> Any:
        found = real(*arguments)
        shutil.rmtree(run / "checkpoint-300", ignore_errors=True)
        return found

    monkeypatch.setattr(audit.judging.auditor, "judge", judge)

    assert guard(run) == run / "checkpoint-200"


def test_a_trainer_that_never_rests_leaves_its_checkpoints_in_progress(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete_one(path: str) -> None:
        left = sorted((run / "checkpoint-100").glob("*"))
        if left and path.startswith("checkpoint-100"):
            left[0].unlink()

    at_opening(monkeypatch, delete_one)
    report = verify(str(run))

    assert blamed(report) == []
    assert [item.resumable for item in report.checkpoints] == [False, True, True]


def test_where_every_checkpoint_is_deleted_while_it_is_read_the_run_is_not_called_vanished(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(str(run))
    step = [300]

    def train_on(path: str) -> None:
        step[0] += 100
        make_run(run, (step[0],), max_steps=300, save_steps=100)
        for place in run.glob("checkpoint-*"):
            if place.name != f"checkpoint-{step[0]}":
                shutil.rmtree(place)

    at_opening(monkeypatch, train_on)

    assert blamed(verify(str(run))) == []


def test_a_checkpoint_that_is_gone_when_its_turn_to_be_listed_comes_is_left_out(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalStorage.list

    def listed(self: LocalStorage, path: str) -> list[object]:
        if path == "checkpoint-100":
            shutil.rmtree(run / path, ignore_errors=True)
        return real(self, path)  # type: ignore[return-value]

    monkeypatch.setattr(LocalStorage, "list", listed)
    report = verify(str(run))

    assert (report.verdict, [item.name for item in report.checkpoints]) == (
        "sound",
        ["checkpoint-200", "checkpoint-300"],
    )


def test_a_file_that_is_gone_before_it_is_looked_at_is_not_listed(run: Path) -> None:
    with os.scandir(run / "checkpoint-100") as found:
        entry = next(found)
        os.unlink(entry.path)

    assert LocalStorage(str(run))._entry("checkpoint-100", entry, -1) is None


def half_deleted(tmp_path: Path, limit: int, lost: str) -> Path:
    """A run whose fourth checkpoint is new, and whose first has just lost a file; the others are an hour old."""
    run = Path(make_run(tmp_path / "run", (100, 200, 300), limit=limit, max_steps=400, save_steps=100))
    grow_old(run)
    make_run(run, (400,), save_steps=100, limit=limit)
    time.sleep(0.02)
    (run / "checkpoint-100" / lost).unlink()
    return run


@pytest.mark.parametrize("lost", ["optimizer.pt", "trainer_state.json", "rng_state.pth"])
def test_a_checkpoint_that_rotation_is_just_deleting_is_not_broken(tmp_path: Path, lost: str) -> None:
    run = half_deleted(tmp_path, 3, lost)
    report = verify(str(run))

    assert blamed(report) == []
    (finding,) = report.findings
    assert (finding.checkpoint, finding.message) == (
        "checkpoint-100",
        "is being deleted right now: hf-trainer keeps 3 checkpoints",
    )
    assert report.checkpoints[0].resumable is False


def test_a_deletion_that_began_while_the_run_was_listed_and_makes_a_pause_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(make_run(tmp_path / "run", (100, 200, 300), limit=3, max_steps=400, save_steps=100))
    grow_old(run)
    make_run(run, (400,), save_steps=100, limit=3)
    listed = LocalStorage.list
    roots = iter(range(100))

    def rotating(self: LocalStorage, path: str) -> list[Entry]:
        found = listed(self, path)
        if path == "" and next(roots) == 1:  # 0 asks which trainer wrote the run, 1 begins the listing
            time.sleep(0.02)
            (run / "checkpoint-100" / "optimizer.pt").unlink()
        return found

    monkeypatch.setattr(LocalStorage, "list", rotating)

    assert blamed(verify(str(run))) == []


def test_a_file_that_was_lost_where_rotation_has_nothing_to_delete_is_missed(tmp_path: Path) -> None:
    run = half_deleted(tmp_path, 4, "optimizer.pt")

    assert ("files/missing-optimizer", "checkpoint-100") in blamed(verify(str(run)))


@pytest.mark.parametrize("lost", ["optimizer.pt", "README.md"])
def test_a_sealed_checkpoint_that_rotation_is_just_deleting_is_not_broken(tmp_path: Path, lost: str) -> None:
    run = Path(make_run(tmp_path / "run", (100, 200, 300), limit=3, max_steps=400, save_steps=100))
    grow_old(run)
    verify(str(run))
    make_run(run, (400,), save_steps=100, limit=3)
    time.sleep(0.02)
    (run / "checkpoint-100" / lost).unlink()

    assert blamed(verify(str(run))) == []


def test_a_deletion_that_was_cut_off_long_ago_is_reported(tmp_path: Path) -> None:
    run = half_deleted(tmp_path, 3, "optimizer.pt")
    grow_old(run)

    assert ("files/missing-optimizer", "checkpoint-100") in blamed(verify(str(run)))


def late_rank(tmp_path: Path) -> Path:
    """A run of three processes whose last one has yet to write its random state."""
    run = Path(make_run(tmp_path / "run", world=3))
    last = run / "checkpoint-300"
    (last / "rng_state_2.pth").unlink()
    written = last.stat().st_mtime_ns + 1_000_000
    os.utime(last / "trainer_state.json", ns=(written, written))
    return run


@pytest.mark.parametrize(("world", "missing"), [(2, 1), (4, 1), (4, 3)])
def test_so_is_one_of_fsdp_which_saves_no_arguments(tmp_path: Path, world: int, missing: int) -> None:
    """Killed before a process wrote its random state: the shards say how many processes there are."""
    run = make_sharded(tmp_path / "run", (100, 200), world=world)
    last = run / "checkpoint-200"
    (last / f"rng_state_{missing}.pth").unlink()
    written = max(path.stat().st_mtime_ns for path in [last, *last.rglob("*")]) + 1_000_000
    os.utime(last / "trainer_state.json", ns=(written, written))

    assert guard(run) == run / "checkpoint-100"
    grow_old(run)
    assert guard(run, exact=True) == run / "checkpoint-100"
    assert ("files/missing-rng-state", "checkpoint-200") in blamed(verify(str(run)))


def test_a_checkpoint_whose_other_process_is_still_writing_is_in_progress(tmp_path: Path) -> None:
    run = late_rank(tmp_path)
    report = verify(str(run))

    assert blamed(report) == []
    assert "rng_state_2.pth of another process is not there yet" in report.findings[0].message
    assert guard(run) == run / "checkpoint-200"


def test_a_random_state_that_never_came_is_missed(tmp_path: Path) -> None:
    run = late_rank(tmp_path)
    grow_old(run)

    assert blamed(verify(str(run))) == [("files/missing-rng-state", "checkpoint-300")]


def test_a_state_that_is_filled_a_moment_after_it_was_made_is_not_empty(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = run / "checkpoint-300" / "trainer_state.json"
    whole = state.read_bytes()
    state.write_bytes(b"")
    monkeypatch.setattr(
        "audit.judging.at_rest.time.sleep", lambda seconds: state.write_bytes(whole) if seconds else None
    )

    assert verify(str(run)).resume_from == "checkpoint-300"


def test_a_state_that_stays_empty_is_damage(run: Path) -> None:
    (run / "checkpoint-300" / "trainer_state.json").write_bytes(b"")

    assert blamed(verify(str(run))) == [("files/empty-file", "checkpoint-300")]


def test_what_did_not_change_is_not_read_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = audit.scan.scan_files
    read: list[list[str]] = []

    def scan_files(jobs: Sequence[ScanJob], **options: Any) -> Any:
        read.append([str(job.key).split("'")[1] for job in jobs])
        found = real(jobs, **options)
        if len(read) == 3:
            shutil.rmtree(run / "checkpoint-100", ignore_errors=True)
            (run / "checkpoint-200" / "README.md").write_text("changed")
        return found

    monkeypatch.setattr(audit.scan, "scan_files", scan_files)
    report = verify(str(run), Options(ledger=False))

    assert report.verdict == "sound"
    assert [set(names) for names in read] == [
        {"checkpoint-100"},
        {"checkpoint-200"},
        {"checkpoint-300"},
        {"checkpoint-200"},
    ]
