"""What is in a run is one value; what was not looked at is said in it, whoever asks first."""

from pathlib import Path

import pytest

import audit.facts.listing
from audit.errors import AuditError
from audit.facts.listing import list_checkpoint, list_run, locate
from audit.facts.run import Run, open_run
from audit.manager import load
from audit.storage import Entry, LocalStorage
from audit.testing.runs import make_run


@pytest.fixture
def path(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def opened(path: str) -> Run:
    return open_run(path, load().backends)


def test_a_tree_that_is_too_deep_is_cut_and_said(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(path, "checkpoint-200", "a/b/c/d/e").mkdir(parents=True)
    run = opened(path)
    assert max(name.count("/") for name in run.checkpoints[1].entries) == audit.facts.listing.MAX_DEPTH - 1
    assert run.overfull == {"checkpoint-200"}


def test_a_tree_of_the_greatest_depth_is_seen_whole(path: str) -> None:
    place = Path(path, "checkpoint-200", "a/b/c")
    place.mkdir(parents=True)
    (place / "file").write_text("x")
    run = opened(path)
    assert "a/b/c/file" in run.checkpoints[1].entries
    assert not run.overfull


def test_a_tree_that_is_too_full_is_cut_and_said(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.facts.listing, "MAX_ENTRIES", 8)
    Path(path, "checkpoint-200", "ninth").write_text("")
    run = opened(path)
    assert [len(checkpoint.entries) for checkpoint in run.checkpoints] == [8, 8, 8]
    assert run.overfull == {"checkpoint-200"}


def test_links_to_directories_are_not_walked(path: str) -> None:
    Path(path, "checkpoint-200", "loop").symlink_to(".")
    Path(path, "checkpoint-200", "out").symlink_to("/")
    run = opened(path)
    assert not any(name.startswith(("loop/", "out/")) for name in run.checkpoints[1].entries)
    assert not run.overfull


def test_what_cannot_be_listed_is_known_before_anything_else_is_asked(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(path, "checkpoint-200", "closed").mkdir()
    listed = LocalStorage.list

    def refuse(self: LocalStorage, place: str) -> list[Entry]:
        if place == "checkpoint-200/closed":
            raise PermissionError(13, "Permission denied")
        return listed(self, place)

    monkeypatch.setattr(LocalStorage, "list", refuse)

    assert opened(path).unlistable == {"checkpoint-200/closed"}


def test_a_checkpoint_that_is_deleted_while_the_run_is_listed_has_a_home_and_nothing_inside(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = LocalStorage.list

    def deleted(self: LocalStorage, place: str) -> list[Entry]:
        if place == "checkpoint-200":
            raise FileNotFoundError(2, "No such file or directory")
        return listed(self, place)

    monkeypatch.setattr(LocalStorage, "list", deleted)
    storage = LocalStorage(path)

    listing = list_run(path, storage, load().backend("hf-trainer"))

    assert list(listing.homes) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert listing.by_step == ["checkpoint-100", "checkpoint-300"]
    assert list_checkpoint(storage, "checkpoint-200") is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("s3:/bucket/run", "no such run; a URL has two slashes: s3://bucket/run"),
        ("gs:bucket", "no such run; a URL has two slashes: gs://bucket"),
        ("C:/data", "no such run; give the output directory"),
        ("run/checkpoint-99", "no such checkpoint; there: checkpoint-100, checkpoint-300"),
    ],
)
def test_what_is_not_there_has_what_is_likely_meant(
    path: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoint-100", "checkpoint-300"):
        (tmp_path / "run" / name).mkdir(parents=True)

    with pytest.raises(AuditError) as wrong:
        locate(path)

    assert str(wrong.value).startswith(f"{path}: {said}")
