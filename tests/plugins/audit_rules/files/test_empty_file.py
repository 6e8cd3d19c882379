"""files/empty-file."""

from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, report
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import ADAPTER


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json", ADAPTER, "rng_state.pth", "training_args.bin"])
def test_a_file_without_bytes_is_found(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-200", name).write_bytes(b"")
    (finding,) = check(run, "files/empty-file")
    assert (finding.checkpoint, finding.file) == ("checkpoint-200", name)
    assert finding.message == f"{name} is empty (0 bytes)"
    assert finding.blocks_resume


def test_a_file_of_one_byte_is_not_empty(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-200", "optimizer.pt").write_bytes(b"P")
    assert not check(run, "files/empty-file")


@pytest.mark.parametrize("name", ["merges.txt", "README.md", "__init__.py", "done"])
def test_a_file_of_no_format_that_is_read_may_be_empty(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-200", name).write_bytes(b"")
    assert not check(run, "files/empty-file")


@pytest.mark.parametrize("name", ["mine.json", "notes/mine.pt"])
def test_an_empty_file_that_no_trainer_wrote_does_not_block(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-200", "notes").mkdir()
    Path(run, "checkpoint-200", name).write_bytes(b"")
    (finding,) = check(run, "files/empty-file")
    assert (finding.severity, finding.blocks_resume) == (Severity.WARNING, False)


def test_what_macos_puts_beside_files_on_a_foreign_disk_is_of_no_format(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-200", "._trainer_state.json").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    Path(run, "checkpoint-200", "._optimizer.pt").write_bytes(b"")
    assert report(run).findings == ()
