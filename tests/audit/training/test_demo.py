"""The demonstration's breakages: each is found, each is refused, and none touches the run that is copied."""

from pathlib import Path

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.manager import load
from audit.retention.pins import pin
from audit.testing.runs import make_run
from audit.training.demo import break_copies


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = make_run(tmp_path / "run", steps=(20, 40), save_steps=20)
    verify(path)
    pin(path, "checkpoint-40")
    return path


def bytes_of(run: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(run).rglob("checkpoint-*/*") if path.is_file()}


def test_each_breakage_is_found_and_another_checkpoint_handed_out(run: str, tmp_path: Path) -> None:
    before = bytes_of(run)
    found = list(break_copies(run, str(tmp_path / "scratch"), load()))

    assert len({item.title for item in found}) == 4
    for item in found:
        assert item.report.count(Severity.ERROR), item.title
        assert item.decision.checkpoint in ("checkpoint-20", ".audit/pinned/checkpoint-40"), item.title
        assert [skipped.checkpoint for skipped in item.decision.skipped] == ["checkpoint-40"], item.title
    assert bytes_of(run) == before
    assert verify(run).verdict == "sound"


def test_the_title_of_a_breakage_names_the_checkpoints_of_the_run(run: str, tmp_path: Path) -> None:
    titles = [item.title for item in break_copies(run, str(tmp_path / "scratch"), load())]
    assert "optimizer.pt of checkpoint-20 copied into checkpoint-40" in titles
