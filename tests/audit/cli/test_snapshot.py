"""``audit snapshot``: what it says, and how it ends."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def test_a_snapshot_is_made_once_a_day_and_can_be_verified(audit: Audit, run: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "snapshots")

    first, second = audit("snapshot", run, dest, "--how", "copy"), audit("snapshot", run, dest)

    place = f"{dest}/{os.listdir(dest)[0]}/checkpoint-300"
    assert first.out.startswith(f"snapshot  {place}  (copy, ")
    assert (first.code, first.err, second.code, second.err) == (0, "", 0, "")
    assert second.out in (f"snapshot  {place}  (already there, verified again)\n", first.out)  # midnight
    assert audit("verify", os.path.dirname(place)).code == 0
    assert abs(time.time() - time.mktime(time.strptime(os.listdir(dest)[0], "%Y-%m-%d"))) < 2 * 86400


def test_quiet_says_nothing(audit: Audit, run: str, tmp_path: Path) -> None:
    assert audit("snapshot", run, str(tmp_path / "s"), "-q") == Ended(0, "", "")


def test_where_nothing_is_proven_it_is_refused_in_one_line(audit: Audit, run: str, tmp_path: Path) -> None:
    for step in (100, 200, 300):
        Path(run, f"checkpoint-{step}", "optimizer.pt").unlink()

    ended = audit("snapshot", run, str(tmp_path / "s"))

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert f"{run}: no checkpoint is proven; checkpoint-300: optimizer.pt is not there" in ended.err
    assert ended.err.endswith(f" (files/missing-optimizer); see audit verify {run}\n")


def test_what_is_newer_than_the_copy_is_named_with_its_reason(audit: Audit, run: str, tmp_path: Path) -> None:
    Path(run, "checkpoint-300", "optimizer.pt").unlink()

    ended = audit("snapshot", run, str(tmp_path / "s"))

    assert ended.err.startswith("note: passed over checkpoint-300: optimizer.pt is not there")
    assert ended.err.count("\n") == 1


def test_a_place_inside_a_checkpoint_is_refused(audit: Audit, run: str) -> None:
    ended = audit("snapshot", run, f"{run}/checkpoint-100/s")
    assert (ended.code, ended.out) == (1, "")
    assert "inside checkpoint-100" in ended.err


def test_a_run_that_is_not_there_is_one_line(audit: Audit, tmp_path: Path) -> None:
    assert "no such run" in one_line(audit("snapshot", str(tmp_path / "none"), str(tmp_path / "s")))
    assert not (tmp_path / "s").exists()


def test_a_directory_that_is_no_run_is_one_line_and_stays_as_it_is(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no checkpoint-N directory in it" in one_line(
        audit("snapshot", str(tmp_path / "empty"), str(tmp_path / "s"))
    )
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_unknown_way_of_copying_is_a_usage_error(audit: Audit, run: str, tmp_path: Path) -> None:
    assert "invalid choice: 'rsync'" in one_line(audit("snapshot", run, str(tmp_path / "s"), "--how", "rsync"))
