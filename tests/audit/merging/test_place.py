"""OUT appears by one rename or not at all, and what a killed call left is removed."""

import os
from pathlib import Path

import pytest

from audit.errors import AuditError, RefusedError
from audit.merging.place import scratch


def test_out_appears_when_it_is_published_and_nothing_else_is_left(tmp_path: Path) -> None:
    out = tmp_path / "models" / "out"
    with scratch(str(out)) as place:
        Path(place.model, "a").write_text("a")
        assert not out.exists()
        place.publish()
    assert os.listdir(out) == ["a"]
    assert os.listdir(out.parent) == ["out"]


def test_a_slash_at_the_end_is_no_other_place(tmp_path: Path) -> None:
    with scratch(f"{tmp_path}/out/") as place:
        place.publish()
    assert os.listdir(tmp_path) == ["out"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch(str(tmp_path / "out")):
        _ = 1 / 0
    assert os.listdir(tmp_path) == []


def test_an_out_that_exists_is_refused_even_if_it_appears_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(RefusedError, match="already exists"), scratch(str(tmp_path / "there")):
        pass
    with scratch(str(tmp_path / "out")) as place:
        (tmp_path / "out").mkdir()
        with pytest.raises(RefusedError, match="already exists"):
            place.publish()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(RefusedError, match="already exists"), scratch(str(tmp_path / "link")):
        pass
    assert sorted(os.listdir(tmp_path)) == ["link", "out", "there"]


@pytest.mark.parametrize("left", [(), ("audit-merge.lock",), ("audit-merge.lock", "model")])
def test_what_a_killed_call_left_is_removed(left: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "out.tmp"
    home.mkdir()
    for name in left:
        (home / name).mkdir() if name == "model" else (home / name).touch()
    if "model" in left:
        (home / "model" / "half.safetensors").write_bytes(b"half")

    with scratch(str(tmp_path / "out")) as place:
        assert os.listdir(place.model) == []
        place.publish()
    assert os.listdir(tmp_path) == ["out"]


def test_a_directory_of_somebody_else_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "out.tmp").mkdir()
    (tmp_path / "out.tmp" / "thesis.tex").touch()
    with pytest.raises(RefusedError, match=r"out\.tmp: is in the way and was not made by audit merge"):
        scratch(str(tmp_path / "out")).__enter__()
    (tmp_path / "linked.tmp").symlink_to("out.tmp")
    with pytest.raises(RefusedError, match="is in the way"):
        scratch(str(tmp_path / "linked")).__enter__()
    assert os.listdir(tmp_path / "out.tmp") == ["thesis.tex"]


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    with scratch(str(tmp_path / "out")) as place:
        with pytest.raises(RefusedError, match="another audit merge writes there"):
            scratch(str(tmp_path / "out")).__enter__()
        place.publish()
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AuditError, match="cannot be made"):
        scratch(str(tmp_path / "out")).__enter__()


def test_a_file_where_a_directory_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditError, match="cannot be made"):
        scratch(str(tmp_path / "file" / "out")).__enter__()
