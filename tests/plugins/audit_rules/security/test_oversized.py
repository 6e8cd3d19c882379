import os
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

import audit.facts.listing
from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.dcp import MODEL, make_sharded

RULE = "security/oversized"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run", (100,)), "checkpoint-100")


def run_of(checkpoint: Path) -> str:
    return str(checkpoint.parent)


def test_a_header_longer_than_any_real_one_blocks(checkpoint: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + path.read_bytes()[8:])
    with open(path, "r+b") as file:  # sparse: the file is as long as the header says, and takes no space
        file.truncate((1 << 40) + 8)

    (finding,) = check(run_of(checkpoint), RULE, depth="quick")

    assert (finding.file, finding.severity, finding.blocks_resume) == (path.name, Severity.ERROR, True)


def test_json_that_is_longer_than_any_real_one_is_not_read(checkpoint: Path) -> None:
    with open(checkpoint / "adapter_config.json", "r+b") as file:
        file.truncate(1 << 31)

    assert [finding.file for finding in check(run_of(checkpoint), RULE)] == ["adapter_config.json"]


def test_a_compressed_record_that_explodes_is_refused(checkpoint: Path) -> None:
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr("optimizer/data.pkl", bytes(200 << 20))
    (checkpoint / "optimizer.pt").write_bytes(bomb.getvalue())

    found = check(run_of(checkpoint), RULE) + check(run_of(checkpoint), "integrity/archive")

    assert [finding.file for finding in found] == ["optimizer.pt"]


def test_more_entries_than_any_checkpoint_has_are_reported(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.facts.listing, "MAX_ENTRIES", 20)
    for number in range(30):
        (checkpoint / f"{number}.txt").touch()

    (finding,) = check(run_of(checkpoint), RULE)

    assert "20 entries were checked" in finding.message


def test_more_levels_than_any_checkpoint_has_are_reported(checkpoint: Path) -> None:
    (checkpoint / "/".join("abcdef")).mkdir(parents=True)

    assert len(check(run_of(checkpoint), RULE)) == 1


def test_a_real_checkpoint_passes(checkpoint: Path) -> None:
    assert outcome(run_of(checkpoint), RULE, "checkpoint-100").outcome is Outcome.PASS


def test_a_file_of_holes_is_named_and_not_read(checkpoint: Path) -> None:
    with open(checkpoint / "notes.dat", "wb") as file:
        file.truncate(1 << 40)

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.file, finding.expected) == ("notes.dat", 1 << 40)


def test_a_file_that_no_resume_reads_may_explode_too(checkpoint: Path) -> None:
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr("training_args/data.pkl", bytes(200 << 20))
    (checkpoint / "training_args.bin").write_bytes(bomb.getvalue())

    assert [finding.file for finding in check(run_of(checkpoint), RULE)] == ["training_args.bin"]


def test_another_kind_of_damage_is_the_finding_of_another_rule(checkpoint: Path) -> None:
    os.truncate(checkpoint / "training_args.bin", 1000)

    assert check(run_of(checkpoint), RULE) == []


def test_metadata_of_thousands_of_shards_may_be_as_large(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "sharded")
    with open(run / "checkpoint-200" / MODEL / ".metadata", "wb") as file:
        file.write(b"\x80\x04" + bytes(33 << 20))

    assert check(str(run), RULE) == []
