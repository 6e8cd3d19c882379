"""Copying a tree: what is made, and what is said where it cannot be."""

import os
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.retention.copying import copy_tree


@pytest.fixture
def source(tmp_path: Path) -> str:
    home = tmp_path / "source"
    (home / "deep").mkdir(parents=True)
    (home / "deep" / "a").write_bytes(os.urandom(3_000_001))
    (home / "empty").write_bytes(b"")
    (home / "empty").chmod(0o640)
    for place in (home / "deep" / "a", home / "deep", home):
        os.utime(place, ns=(10**18, 10**18 + 123_456_789))
    return str(home)


@pytest.mark.parametrize("how", ["auto", "copy", "link"])
def test_bytes_times_and_modes_are_those_of_the_original(source: str, tmp_path: Path, how: str) -> None:
    target = str(tmp_path / "target")

    way = copy_tree(source, target, ["empty", "deep/a"], ["deep"], how)

    assert way == how or (how == "auto" and way in ("copy", "reflink"))
    for name in ("empty", "deep/a"):
        assert Path(target, name).read_bytes() == Path(source, name).read_bytes()
        assert os.path.samefile(os.path.join(target, name), os.path.join(source, name)) == (how == "link")
    for name in ("", "deep", "deep/a", "empty"):
        ours, theirs = os.stat(os.path.join(target, name)), os.stat(os.path.join(source, name))
        assert (ours.st_mtime_ns, ours.st_mode) == (theirs.st_mtime_ns, theirs.st_mode)


def test_a_target_that_is_there_is_not_touched(source: str, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(AuditError, match="File exists"):
        copy_tree(source, str(tmp_path / "target"), ["empty"], [], "copy")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_that_is_gone_is_one_clear_line(source: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="was deleted or changed while it was copied; try again"):
        copy_tree(source, str(tmp_path / "target"), ["gone"], [], "copy")
