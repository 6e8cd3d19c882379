"""What a verification leaves in the ledger, and what the next one need not read again."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.ledger.records import read_records
from audit.retention.snapshots import snapshot
from audit.testing.runs import make_run
from tests.audit.seals import WEIGHTS, broken_seals, execute, flip, rows, sealed, verified


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def size(run: str, *steps: int) -> int:
    return sum(
        os.path.getsize(os.path.join(home, name))
        for step in steps
        for home, _, names in os.walk(f"{run}/checkpoint-{step}")
        for name in names
    )


def reread(run: str, **options: Any) -> set[tuple[str, str]]:
    """Which files a full verification scanned."""
    from audit.facts.run import open_run
    from audit.manager import load

    records, _ = read_records(run, write=False)
    opened = open_run(run, load().backends, records=records, **options)
    return {key for key, scan in opened.scans.items() if scan.bytes_read}


def test_the_first_full_verification_seals_what_is_sound_and_only_that(run: str) -> None:
    Path(run, "checkpoint-200", "optimizer.pt").unlink()

    assert sealed(verified(run)) == [100, 300]
    assert [row["checkpoint"] for row in rows(run, "seal")] == ["checkpoint-100", "checkpoint-300"]
    assert sealed(verified(run)) == [100, 300]
    assert len(rows(run, "seal")) == 2


def test_a_warning_is_no_reason_not_to_seal(run: str) -> None:
    Path(run, "checkpoint-200", "rng_state.pth").unlink()

    report = verified(run)

    assert report.verdict == "suspect"
    assert sealed(report) == [100, 200, 300]


def test_quick_depth_seals_nothing(run: str) -> None:
    assert sealed(verified(run, depth="quick")) == []
    assert rows(run, "seal") == []
    assert [row["depth"] for row in rows(run, "observation")] == ["quick"]


def test_a_few_selected_rules_prove_nothing(run: str) -> None:
    assert sealed(verified(run, select=("files",))) == []
    assert rows(run, "seal") == []


def test_a_save_that_goes_on_is_not_sealed(run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").unlink()

    assert sealed(verified(run, settle_seconds=600)) == [100, 200]


def test_without_a_ledger_nothing_is_recorded_and_nothing_is_made(run: str) -> None:
    assert sealed(verified(run, ledger=False)) == []
    assert not Path(run, ".audit").exists()


def test_one_checkpoint_that_was_named_is_sealed_alone(run: str) -> None:
    verified(f"{run}/checkpoint-200")

    assert [row["checkpoint"] for row in rows(run, "seal")] == ["checkpoint-200"]
    assert [row["step"] for row in rows(run, "observation")] == [300]


def test_every_verification_is_one_observation(run: str) -> None:
    for _ in range(3):
        verified(run)

    assert (
        rows(run, "observation")
        == [
            {
                "step": 300,
                "verdict": "sound",
                "depth": "full",
                "errors": 0,
                "warnings": 0,
                "checkpoints": ["checkpoint-100", "checkpoint-200", "checkpoint-300"],
            }
        ]
        * 3
    )


def test_only_what_changed_is_read_again(run: str) -> None:
    first = verified(run).bytes_read
    assert first > size(run, 100, 200, 300)
    assert verified(run).bytes_read < first - size(run, 100, 200, 300) + 1
    assert reread(run) == set()

    flip(f"{run}/checkpoint-200/{WEIGHTS}", keep_times=False)
    assert reread(run) == {("checkpoint-200", WEIGHTS)}


def test_without_the_cache_all_is_read_again(run: str) -> None:
    first = verified(run).bytes_read

    assert verified(run, cache=False).bytes_read >= first


def test_touched_files_are_read_once_more_and_then_known(run: str) -> None:
    verified(run)
    os.utime(f"{run}/checkpoint-200/{WEIGHTS}")
    assert reread(run) == {("checkpoint-200", WEIGHTS)}
    verified(run)
    assert reread(run) == set()


def test_a_new_checkpoint_is_all_that_is_read(run: str) -> None:
    shutil.move(f"{run}/checkpoint-300", f"{run}-300")
    verified(run)
    shutil.move(f"{run}-300", f"{run}/checkpoint-300")

    assert {name for name, _ in reread(run)} == {"checkpoint-300"}
    assert sealed(verified(run)) == [100, 200, 300]


def test_what_is_remembered_of_a_deleted_checkpoint_is_dropped_but_not_its_rows(run: str) -> None:
    verified(run)
    shutil.rmtree(f"{run}/checkpoint-100")
    verified(run)

    kept = {name for name, _ in read_records(run, write=False)[0].scans}
    assert kept - {""} == {"checkpoint-200", "checkpoint-300"}
    assert len(rows(run, "seal")) == 3


def test_a_broken_seal_is_not_replaced(run: str) -> None:
    verified(run)
    flip(f"{run}/checkpoint-300/{WEIGHTS}", keep_times=False)

    for _ in range(3):
        assert broken_seals(verified(run)) == [("checkpoint-300", WEIGHTS)]
    assert len(rows(run, "seal")) == 3


def test_a_name_of_odd_bytes_is_sealed_too(run: str) -> None:
    name = os.fsdecode(b"line\nback\\slash\xff.txt")
    Path(run, "checkpoint-300", name).write_text("x")

    assert sealed(verified(run)) == [100, 200, 300]
    Path(run, "checkpoint-300", name).write_text("y")
    assert broken_seals(verified(run)) == [("checkpoint-300", name)]


def _forge(run: str, change: Callable[[str], str]) -> None:
    """Change all remembered scans, and have the chain vouch for them, as somebody would who knows how."""
    from audit.ledger.store import open_ledger

    ledger = open_ledger(run, write=True)
    assert ledger is not None
    held: dict[str, dict[str, tuple[str, str]]] = {}
    for (checkpoint, file), (stamp, text) in ledger.scans().items():
        if not checkpoint:  # the judgement of the whole; see test_recall.py
            continue
        held.setdefault(checkpoint, {})[file] = (stamp, change(text) if file else text)
    for checkpoint, scans in held.items():
        ledger.remember(checkpoint, scans)
    ledger.close()


def _spans(change: Callable[[list[Any]], Any]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        digest, size, spans = json.loads(text)
        return json.dumps([digest, size, {name: change(span) for name, span in spans.items()}])

    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "{",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[1, 2, 3]",
        lambda text: "[" * 5000,
        lambda text: '["x", 1, {}]',
        lambda text: json.dumps(["0" * 64, "1", {}]),
        lambda text: json.dumps([*json.loads(text)[:2], []]),
        lambda text: json.dumps([json.loads(text)[0], json.loads(text)[1] + 1, json.loads(text)[2]]),
        lambda text: json.dumps(
            [*json.loads(text)[:2], {f"{name}x": span for name, span in json.loads(text)[2].items()}]
        ),
        _spans(lambda span: span[:-1]),
        _spans(lambda span: [*span, 1]),
        _spans(lambda span: None),
        _spans(lambda span: {}),
        _spans(lambda span: ["x", *span[1:]]),
        _spans(lambda span: [*span[:3], float("nan"), *span[4:]]),
        _spans(lambda span: [*span[:3], float("inf"), *span[4:]]),
        _spans(lambda span: [*span[:3], 10**400, *span[4:]]),
        _spans(lambda span: [*span[:3], "1", *span[4:]]),
        _spans(lambda span: [*span[:6], "1", span[7]]),
    ],
    ids=map(str, range(21)),
)
def test_remembered_garbage_is_not_believed_and_does_no_harm(run: str, change: Callable[[str], str]) -> None:
    verified(run)
    _forge(run, change)

    report = verified(run)

    assert (report.findings, report.crashed) == ((), ())
    assert reread(run) == set(), "it was read again and remembered"


def test_a_forged_scan_of_another_digest_does_not_get_past_the_seal(run: str) -> None:
    verified(run)
    _forge(run, lambda text: json.dumps(["0" * 64, *json.loads(text)[1:]]))

    report = verified(run)

    assert "checkpoint-100" in {name for name, _ in broken_seals(report)}, "the others also look like copies of it"
    assert not any(item.resumable for item in report.checkpoints)
    assert report.resume_from is None


def test_a_scan_that_was_changed_in_the_file_alone_is_not_believed(run: str) -> None:
    verified(run)
    flip(f"{run}/checkpoint-300/{WEIGHTS}", keep_times=False)
    info = os.stat(f"{run}/checkpoint-300/{WEIGHTS}")
    execute(
        run,
        "UPDATE scans SET stamp = substr(stamp, 1, 2) || ? || substr(stamp, -33) WHERE checkpoint = ? AND file = ?",
        f"{info.st_size}:{info.st_mtime_ns}:{info.st_ino}",
        "checkpoint-300",
        WEIGHTS,
    )

    assert broken_seals(verified(run)) == [("checkpoint-300", WEIGHTS)]


# -- where nothing can be written -------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[str]:
    """A run on a file system of its own, of two megabytes; skips where this user may not mount."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    yield make_run(place / "run")
    subprocess.run(["umount", "-l", place], check=True)


def fill(run: str) -> None:
    with open(f"{run}/../ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def judged(run: str) -> tuple[Any, ...]:
    report = verified(run)
    return report.verdict, report.findings, report.resume_from


def test_a_full_disk_changes_no_verdict_and_is_noted(small: str) -> None:
    fill(small)

    for _ in range(2):
        report = verified(small)
        assert (report.verdict, report.findings, report.resume_from) == ("sound", (), "checkpoint-300")
        assert len(report.notes) == 1
        assert "ledger.db" in report.notes[0]


def test_a_disk_that_filled_up_since_is_noted(small: str) -> None:
    verified(small)
    fill(small)

    seen = [verified(small) for _ in range(10)]

    assert {(report.verdict, report.findings) for report in seen} == {("sound", ())}
    assert all("ledger.db" in note for note in seen[-1].notes)
    assert seen[-1].notes
    assert {item.sealed for item in seen[-1].checkpoints} == {True}


def test_a_read_only_run_is_noted_and_the_ledger_that_it_has_is_used(small: str) -> None:
    place = os.path.dirname(small)
    verified(small)
    flip(f"{small}/checkpoint-300/{WEIGHTS}", keep_times=False)
    assert subprocess.run(["mount", "-o", "remount,ro", place], check=False).returncode == 0

    report = verified(small)

    assert broken_seals(report) == [("checkpoint-300", WEIGHTS)]
    assert report.resume_from == "checkpoint-200"
    assert "cannot be written" in report.notes[0]


def test_a_stray_file_that_no_reader_understands_is_sealed_as_it_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    stray = Path(run, "checkpoint-300", "notes.pt")
    stray.write_bytes(b"garbage")
    assert sealed(verified(run)) == [100, 200, 300]
    assert "notes.pt" in rows(run, "seal")[-1]["files"]

    assert verified(run).resume_from == "checkpoint-300"
    stray.write_bytes(b"Garbage")

    report = verified(run)  # that it is no archive says it better, and blocks now
    assert [(item.rule, item.file, item.blocks_resume) for item in report.findings] == [
        ("integrity/archive", "notes.pt", True)
    ]
    assert report.resume_from == "checkpoint-200"


def test_a_snapshot_takes_such_a_file_along(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-300", "notes.pt").write_bytes(b"garbage")

    made = snapshot(run, str(tmp_path / "snapshots"))

    assert Path(made.path, "notes.pt").read_bytes() == b"garbage"
