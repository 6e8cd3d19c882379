"""What is to be pushed is kept until it is, whatever becomes of the checkpoint itself."""

import os
import shutil
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.retention import pins
from audit.retention.outbox import clear_outbox, place_in_outbox, put_in_outbox
from audit.retention.pins import keep_apart
from audit.testing.runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def contents(place: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def test_it_survives_rotation_and_takes_no_space(run: str) -> None:
    before = contents(f"{run}/checkpoint-200")

    assert put_in_outbox(run, "ab12", "checkpoint-200") is None

    kept = place_in_outbox(run, "ab12", "checkpoint-200")
    assert os.stat(f"{kept}/optimizer.pt").st_ino == os.stat(f"{run}/checkpoint-200/optimizer.pt").st_ino
    shutil.rmtree(f"{run}/checkpoint-200")
    assert contents(kept) == before


def test_what_was_verified_is_not_read_again_because_of_it(run: str) -> None:
    assert verify(run).verdict == "sound"
    put_in_outbox(run, "ab12", "checkpoint-200")

    again = verify(run)

    assert [item.sealed for item in again.checkpoints] == [True, True, True]
    assert again.bytes_read < 100_000


def test_a_second_call_changes_nothing_and_clearing_leaves_what_is_wanted(run: str) -> None:
    for id in ("ab12", "ab12", "cd34"):
        put_in_outbox(run, id, "checkpoint-200")
    shutil.copytree(f"{run}/.audit/outbox/ab12", f"{run}/.audit/outbox/ef56.77.tmp")
    shutil.copytree(f"{run}/.audit/outbox/ab12", f"{run}/.audit/outbox/cd34.77.tmp")

    clear_outbox(run, {"cd34"})

    assert sorted(os.listdir(f"{run}/.audit/outbox")) == ["cd34", "cd34.77.tmp"]  # being made
    clear_outbox(run, set())
    assert not os.path.exists(f"{run}/.audit/outbox")
    clear_outbox(run, set())


def test_a_training_that_saves_the_step_again_does_not_write_into_it(run: str) -> None:
    put_in_outbox(run, "ab12", "checkpoint-200")
    put_in_outbox(run, "cd34", "checkpoint-100")
    kept = Path(place_in_outbox(run, "ab12", "checkpoint-200"), "optimizer.pt")
    before = kept.read_bytes()

    keep_apart(run, 100)
    Path(run, "checkpoint-200", "optimizer.pt").write_bytes(b"cut off")

    assert kept.read_bytes() == before
    other = place_in_outbox(run, "cd34", "checkpoint-100")
    assert os.stat(f"{other}/optimizer.pt").st_ino == os.stat(f"{run}/checkpoint-100/optimizer.pt").st_ino


def test_without_hard_links_it_says_that_the_checkpoint_must_stay(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: str, target: str) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("audit.retention.outbox.link_all", no_links)

    said = put_in_outbox(run, "ab12", "checkpoint-200")

    assert said is not None
    assert "it must stay where it is until then" in said
    assert os.listdir(f"{run}/.audit/outbox") == []


def test_a_link_in_its_place_is_not_followed(run: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "ab12").mkdir(parents=True)
    os.makedirs(f"{run}/.audit", exist_ok=True)
    os.symlink(tmp_path / "elsewhere", f"{run}/.audit/outbox")

    with pytest.raises(AuditError, match="is a link"):
        clear_outbox(run, set())
    with pytest.raises(AuditError, match="is a link"):
        put_in_outbox(run, "cd34", "checkpoint-100")
    keep_apart(run, 0)
    assert os.listdir(tmp_path / "elsewhere") == ["ab12"]


def test_pins_are_linked_the_same_way(run: str) -> None:
    assert pins.shares_files(f"{run}/checkpoint-300", pins.pin(run, "checkpoint-300"))
