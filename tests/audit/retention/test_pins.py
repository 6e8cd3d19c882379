"""A pin that gets bytes of its own."""

from pathlib import Path

import pytest

from audit.retention.pins import detach, pin
from audit.testing.runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run"))


def test_a_detached_pin_keeps_its_bytes_when_the_original_is_written_into(run: Path) -> None:
    kept = Path(pin(str(run), "checkpoint-300"), "optimizer.pt")
    original = run / "checkpoint-300" / "optimizer.pt"
    before = original.read_bytes()
    detach(str(run), "checkpoint-300")
    original.write_bytes(b"cut off")

    assert kept.read_bytes() == before
    assert [path.name for path in (run / ".audit" / "pinned").iterdir()] == ["checkpoint-300"]


def test_a_pin_that_shares_nothing_is_left_alone(run: Path) -> None:
    kept = Path(pin(str(run), "checkpoint-300"), "optimizer.pt")
    detach(str(run), "checkpoint-300")
    inode = kept.stat().st_ino
    detach(str(run), "checkpoint-300")

    assert kept.stat().st_ino == inode
