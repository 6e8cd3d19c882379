"""A verification changes nothing in the run, and says the same of the run wherever it lies."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.testing.runs import make_run
from tests.audit.cli.conftest import Ended

Audit = Callable[..., Ended]
JSON = ("--no-ledger", "--format", "json")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run with an error, a warning and a link, whose state names absolute paths."""
    path = make_run(tmp_path / "home" / "run", best=True, limit=3)
    Path(path, "checkpoint-300", "optimizer.pt").unlink()
    Path(path, "checkpoint-200", "rng_state.pth").unlink()
    Path(path, "checkpoint-200", "tokenizer.json").symlink_to("adapter_config.json")
    Path(path, "runs").mkdir()
    return path


def snapshot(root: str) -> dict[str, tuple[object, ...]]:
    """Everything that a change would change (not the time of the last access), by path."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, names in os.walk(root):
        for path in [directory, *(os.path.join(directory, name) for name in directories + names)]:
            info = os.lstat(path)
            content = Path(path).read_bytes() if os.path.isfile(path) else None
            times = (info.st_mtime_ns, info.st_ctime_ns)
            found[path] = (info.st_ino, info.st_mode, info.st_nlink, info.st_size, times, content)
    return found


def judgement(ended: Ended) -> dict[str, Any]:
    report = json.loads(ended.out)
    return {key: report[key] for key in ("verdict", "resume_from", "checkpoints", "findings", "outcomes")} | {
        "code": ended.code
    }


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_nothing_in_the_run_is_written_or_touched(audit: Audit, run: str, depth: str) -> None:
    before = snapshot(run)
    assert audit("verify", run, "--no-ledger", "--depth", depth).code == 1
    assert audit("verify", f"{run}/checkpoint-200", "--no-ledger", "--depth", depth).code == 0
    assert snapshot(run) == before


def test_no_checkpoint_is_touched_with_a_ledger_either(audit: Audit, run: str) -> None:
    checkpoints = [f"{run}/checkpoint-{step}" for step in (100, 200, 300)]
    before = [snapshot(checkpoint) for checkpoint in checkpoints]
    assert audit("verify", run).code == 1
    assert [snapshot(checkpoint) for checkpoint in checkpoints] == before


def test_listing_and_showing_touch_nothing_either(audit: Audit, run: str) -> None:
    before = snapshot(run)
    assert audit("list", run).code == audit("show", run).code == 0
    assert snapshot(run) == before


def test_a_run_that_may_not_be_written_is_judged_the_same(audit: Audit, run: str) -> None:
    expected = judgement(audit("verify", run, *JSON))
    places = [Path(run), *Path(run).rglob("*")]
    for place in places:
        if not place.is_symlink():
            place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        assert judgement(audit("verify", run, *JSON)) == expected
    finally:
        for place in places:
            if place.is_dir():
                place.chmod(0o755)


def _moved(run: str, new: str) -> None:
    os.rename(os.path.dirname(run), os.path.dirname(new))


def _renamed(run: str, new: str) -> None:
    os.mkdir(os.path.dirname(new))
    os.rename(run, new)


def _copied_with_times(run: str, new: str) -> None:
    shutil.copytree(run, new, symlinks=True)
    shutil.rmtree(run)


def _copied_without_times(run: str, new: str) -> None:
    shutil.copytree(run, new, symlinks=True, copy_function=shutil.copyfile)
    shutil.rmtree(run)


@pytest.mark.parametrize("take", [_moved, _renamed, _copied_with_times, _copied_without_times])
def test_a_run_says_the_same_wherever_it_lies(
    audit: Audit, run: str, tmp_path: Path, take: Callable[[str, str], None]
) -> None:
    expected = judgement(audit("verify", run, *JSON))
    new = str(tmp_path / "away" / "run")
    take(run, new)
    assert judgement(audit("verify", new, *JSON)) == expected
    assert expected["findings"]


def test_a_copy_beside_its_original_differs_in_the_best_checkpoint_that_it_names(
    audit: Audit, run: str, tmp_path: Path
) -> None:
    expected = judgement(audit("verify", run, *JSON))
    shutil.copytree(run, tmp_path / "copy", symlinks=True)
    found = judgement(audit("verify", str(tmp_path / "copy"), *JSON))
    extra = [finding for finding in found["findings"] if finding not in expected["findings"]]
    assert [finding["rule"] for finding in extra] == ["rotation/foreign-best"]
    assert (found["verdict"], found["resume_from"]) == (expected["verdict"], expected["resume_from"])


def test_a_run_given_by_a_link_or_from_inside_is_judged_the_same(
    audit: Audit, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = judgement(audit("verify", run, *JSON))
    (tmp_path / "link").symlink_to(run)
    assert judgement(audit("verify", str(tmp_path / "link"), *JSON)) == expected
    monkeypatch.chdir(run)
    assert judgement(audit("verify", ".", *JSON)) == expected
    monkeypatch.chdir(f"{run}/checkpoint-200")
    assert [item["name"] for item in judgement(audit("verify", ".", *JSON))["checkpoints"]] == ["checkpoint-200"]
