"""``<run>/.audit``: its parts are made and found without following a link, and written whole or not at all."""

import os
from pathlib import Path

import pytest

from audit.audit_dir import (
    AUDIT_DIR,
    PINNED,
    SCRATCH,
    SEALS,
    free_name,
    link_in_the_way,
    make,
    pinned_names,
    pins_home,
    refuse_links,
    replaced,
    scratch,
)
from audit.errors import AuditError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "precious" / "seals").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_directory_is_made_once_and_its_path_returned(run: Path) -> None:
    assert make(str(run), SEALS, "nothing is written") == str(run / ".audit" / "seals")
    assert make(str(run), SEALS, "nothing is written") == str(run / ".audit" / "seals")
    assert link_in_the_way(str(run), SEALS) is None


@pytest.mark.parametrize("place", [AUDIT_DIR, SEALS])
def test_a_link_is_named_with_the_consequence_and_nothing_is_made(run: Path, place: str) -> None:
    (run / place).parent.mkdir(exist_ok=True)
    (run / place).symlink_to(run.parent / "precious")

    for refusing in (make, refuse_links):
        with pytest.raises(AuditError) as caught:
            refusing(str(run), SEALS, "nothing is written")
        assert str(caught.value) == f"{run / place}: is a link, so nothing is written"
    assert os.listdir(run.parent / "precious") == ["seals"]


def test_a_link_to_the_run_itself_is_the_users_choice(run: Path) -> None:
    (run.parent / "link").symlink_to(run)
    assert make(str(run.parent / "link"), SEALS, "") == str(run.parent / "link" / SEALS)


def test_what_cannot_be_made_is_said_with_the_reason(run: Path) -> None:
    (run / AUDIT_DIR).write_text("a file")
    with pytest.raises(AuditError, match=r"\.audit: is not a directory, so nothing is written; move it away"):
        make(str(run), SEALS, "nothing is written")


def test_a_free_name_is_the_first_that_is_not_taken_even_by_a_link_to_nowhere(run: Path) -> None:
    assert free_name(str(run), "checkpoint-300") == "checkpoint-300"
    (run / "checkpoint-300").mkdir()
    (run / "checkpoint-300.1").symlink_to("nowhere")
    assert free_name(str(run), "checkpoint-300") == "checkpoint-300.2"


def test_a_file_is_replaced_whole(run: Path) -> None:
    path = str(run / "file")
    for text in ("one", "two"):
        with replaced(path) as scratch:
            Path(scratch).write_text(text)
        assert Path(path).read_text() == text
    assert os.listdir(run) == ["file"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_file_that_could_not_be_written_leaves_the_old_one_and_nothing_else(run: Path, error: BaseException) -> None:
    (run / "file").write_text("old")

    def write() -> None:
        with replaced(str(run / "file")) as scratch:
            Path(scratch).write_text("hal")
            raise error

    with pytest.raises(type(error)):
        write()
    assert os.listdir(run) == ["file"]
    assert (run / "file").read_text() == "old"


def test_pins_are_found_where_there_are_any(run: Path) -> None:
    assert pins_home(str(run)) is None
    assert pinned_names(str(run)) == set()
    (run / PINNED / "checkpoint-3").mkdir(parents=True)
    assert pins_home(str(run)) == str(run / PINNED)
    assert pinned_names(str(run)) == {"checkpoint-3"}


@pytest.mark.parametrize("place", [AUDIT_DIR, PINNED])
def test_pins_behind_a_link_are_not_seen(run: Path, place: str) -> None:
    (run.parent / "precious" / "pinned" / "checkpoint-3").mkdir(parents=True)
    (run / place).parent.mkdir(exist_ok=True)
    (run / place).symlink_to(run.parent / "precious")
    assert pins_home(str(run)) is None


def test_scratch_is_empty_at_first_and_gone_at_the_end(tmp_path: Path) -> None:
    left = tmp_path / SCRATCH / "0" / "left by a killed leg"
    left.parent.mkdir(parents=True)
    left.write_text("x")

    with scratch(str(tmp_path), "0") as home:
        assert os.listdir(home) == []
        Path(home, "file").write_text("x")

    assert not os.path.exists(home)


def test_scratch_behind_a_link_is_refused_and_left_alone(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    (elsewhere / "scratch" / "0").mkdir(parents=True)
    (run / AUDIT_DIR).symlink_to(elsewhere)

    with pytest.raises(AuditError, match="is a link"), scratch(str(run), "0"):
        pass

    assert (elsewhere / "scratch" / "0").is_dir()
