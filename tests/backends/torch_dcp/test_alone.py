"""What processes saved without each other, ``dcp.save(use_collectives=False)``: a metadata of each."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import guard, verify
from audit.testing.judging import check
from tests.accelerate import settle
from tests.dcp import make_whole


@pytest.fixture
def run(tmp_path: Path) -> Path:
    found = make_whole(tmp_path / "run", alone=True)
    settle(found)
    return found


def test_it_is_read_as_one_state(run: Path) -> None:
    report = verify(run)

    assert (report.backend, report.verdict, report.findings) == ("torch-dcp", "sound", ())
    assert all(item.judged and item.sealed for item in report.checkpoints)
    assert guard(run) == run / "step-300"


def _of_process_1(place: Path) -> None:
    for name in ("__1.metadata", "__1_0.distcp"):
        shutil.copyfile(place.with_name("step-200") / name, place / name)


def _without_process_1(place: Path) -> None:
    for name in ("__1.metadata", "__1_0.distcp"):
        (place / name).unlink()


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "the metadata of the first process is gone": (
        lambda place: (place / "__0.metadata").unlink(), "files/incomplete-checkpoint"),
    "the metadata of another process is gone": (
        lambda place: (place / "__1.metadata").unlink(), "files/missing-weights"),
    "a metadata is cut": (
        lambda place: (place / "__1.metadata").write_bytes((place / "__1.metadata").read_bytes()[:900]),
        "integrity/archive"),
    "a shard is gone": (lambda place: (place / "__1_0.distcp").unlink(), "shards/incomplete"),
    "all of a process is gone": (_without_process_1, "shards/incomplete"),
    "the metadata of a process is that of another": (
        lambda place: shutil.copyfile(place / "__0.metadata", place / "__1.metadata"), "shards/incomplete"),
    "all of a process is of an older step": (_of_process_1, "shards/stale"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_a_process_would_stop_at_or_load_silently_is_refused(run: Path, name: str) -> None:
    damage, rule = DAMAGES[name]
    damage(run / "step-300")
    settle(run)

    assert rule in [finding.rule for finding in verify(run).findings]
    assert guard(run) == run / "step-200"


def test_a_save_of_all_processes_over_it_is_what_counts(run: Path, tmp_path: Path) -> None:
    together = make_whole(tmp_path / "together")
    for step in (100, 200, 300):
        for file in (together / f"step-{step}").iterdir():
            shutil.copyfile(file, run / f"step-{step}" / file.name)
    settle(run)

    assert [finding.rule for finding in verify(run).findings] == []


def test_the_metadata_that_was_copied_is_named(run: Path) -> None:
    shutil.copyfile(run / "step-200" / "__1.metadata", run / "step-300" / "__1.metadata")

    assert [finding.file for finding in check(str(run), "shards/copied-metadata")] == ["__1.metadata"]
