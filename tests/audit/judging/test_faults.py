"""What a look at every byte found is still said by a look at the structure, until a file is touched."""

import json
import os
from pathlib import Path

import pytest

from audit.api import verify
from audit.findings import Finding, Outcome, Severity
from audit.judging import faults
from audit.judging.faults import KEY
from audit.ledger.records import read_records
from audit.ledger.store import open_ledger
from audit.options import Options
from audit.report import Report, in_words
from audit.testing.runs import make_run
from audit.views.inspection import inspect
from tests.audit.seals import rows

FULL, QUICK = Options(settle_seconds=0), Options(settle_seconds=0, depth="quick")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A byte in the middle of a file of the newest checkpoint is another one."""
    run = make_run(tmp_path / "run")
    flip(Path(run, "checkpoint-300", "optimizer.pt"))
    return run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def states(run: str) -> dict[str, str]:
    return {name: in_words(found.state, found.by_structure) for name, found in inspect(run).standings.items()}


def newest(report: Report) -> tuple[bool, bool]:
    item = report.checkpoints[-1]
    return item.resumable, item.by_structure


def test_what_full_depth_found_is_said_at_quick_depth_too(run: str) -> None:
    assert newest(verify(run, QUICK)) == (True, True)
    assert set(states(run).values()) == {"resumable by structure"}
    found = verify(run, FULL)
    assert found.resume_from == "checkpoint-200"

    quick = verify(run, QUICK)

    assert newest(quick) == (False, False)
    assert [item._replace(accepted=None) for item in quick.findings] == list(found.findings)
    assert quick.resume_from == "checkpoint-200"
    outcomes = {(item.rule, item.checkpoint): item.outcome for item in quick.outcomes}
    assert outcomes["integrity/archive", "checkpoint-300"] is Outcome.FAIL
    (note,) = quick.notes
    assert note.startswith("checkpoint-300: found broken when every byte of it was read, 20")
    assert states(run)["checkpoint-300"] == "broken"
    assert states(run)["checkpoint-200"] == "sealed"


def test_it_is_kept_once_and_only_while_it_is_so(run: str) -> None:
    verify(run, FULL)
    kept = [row for row in rows(run, "scans") if row["checkpoint"] == "checkpoint-300"]
    verify(run, FULL)
    assert [row for row in rows(run, "scans") if row["checkpoint"] == "checkpoint-300"] == kept
    flip(Path(run, "checkpoint-300", "optimizer.pt"))  # mended

    assert states(run)["checkpoint-300"] == "resumable by structure"

    assert verify(run, FULL).verdict == "sound"
    assert states(run)["checkpoint-300"] == "sealed"
    assert not faults.any_known(read_records(run, False)[0])


def test_a_file_that_was_touched_ends_it(run: str) -> None:
    verify(run, FULL)
    os.utime(f"{run}/checkpoint-300/README.md")

    assert newest(verify(run, QUICK)) == (True, True)


def test_rules_that_are_not_asked_for_are_not_answered_for(run: str) -> None:
    verify(run, FULL)

    assert newest(verify(run, QUICK._replace(ignore=("integrity",)))) == (True, True)
    mild = verify(run, QUICK._replace(severity={"integrity/archive": Severity.WARNING}))
    assert [item.severity for item in mild.findings] == [Severity.WARNING]


def test_what_the_structure_shows_is_not_said_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-300", "scheduler.pt").unlink()
    verify(run, FULL)

    assert [item.rule for item in verify(run, QUICK).findings] == ["files/missing-scheduler"]


def test_a_sealed_checkpoint_that_was_found_altered_is_read_again_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    verify(run, FULL)
    path = Path(run, "checkpoint-300", "adapter_model.safetensors")
    flip(path)
    ledger = open_ledger(run, True)
    assert ledger is not None
    # As after a bit that decayed on the disk: no time of the file tells of it.
    from audit.ledger.scans import stamp_of_file
    from audit.storage import LocalStorage

    entry = next(item for item in LocalStorage(run).list("checkpoint-300") if item.path.endswith(path.name))
    ledger.restamp(
        "checkpoint-300",
        lambda file, stamp: f"{stamp_of_file(entry)}{stamp.rpartition(':')[2]}" if file == path.name else stamp,
    )
    ledger.close()
    assert verify(run, FULL).resume_from == "checkpoint-300"  # nothing shows it

    found = verify(run, FULL._replace(scrub=1.0))

    assert [item.rule for item in found.findings] == ["integrity/seal-broken"]
    assert verify(run, FULL).findings == found.findings
    assert states(run)["checkpoint-300"] == "broken"


def test_without_the_ledger_nothing_is_kept(run: str) -> None:
    verify(run, FULL._replace(ledger=False))

    assert newest(verify(run, QUICK)) == (True, True)


def test_a_few_selected_rules_neither_keep_nor_forget(run: str) -> None:
    verify(run, FULL)
    verify(run, FULL._replace(select=("steps",)))

    assert newest(verify(run, QUICK)) == (False, False)


@pytest.mark.parametrize("text", ["", "[]", "[1]", '["now", [[1]]]', '["now", [["a/b", "grave"]]]', "[" * 100_000])
def test_text_of_another_shape_is_nothing(text: str) -> None:
    assert faults._parsed(text, "checkpoint-1") is None


def test_what_is_kept_is_read_back_as_it_was() -> None:
    finding = Finding("a/b", Severity.ERROR, "checkpoint-1", "x", "is wrong", 1, None, "Mend it.", True)

    known = faults._parsed(faults._text("2026-11-21T00:00:00Z", [finding]), "checkpoint-1")

    assert known == faults.Known("2026-11-21T00:00:00Z", (finding,))
    assert known.when == "2026-11-21 00:00 UTC"
    assert json.loads(faults._text("", [finding]))[1][0][2] is None
    assert KEY == "/"
