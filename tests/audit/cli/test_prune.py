"""``audit prune``: what it says, and how it ends."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.audit_dir import TRASH
from audit.retention.lock import RunLock
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def names(run: str) -> list[str]:
    return sorted(name for name in os.listdir(run) if name.startswith("checkpoint-"))


def test_old_checkpoints_go_and_it_is_said_which_and_why(audit: Audit, run: str) -> None:
    dry = audit("prune", run, "--keep", "2", "--dry-run")
    assert (dry.code, dry.err, names(run)) == (0, "", ["checkpoint-100", "checkpoint-200", "checkpoint-300"])
    assert dry.out.splitlines()[0].startswith("would remove  checkpoint-100  (")

    done = audit("prune", run, "--keep", "2")
    assert (done.code, done.err, names(run)) == (0, "", ["checkpoint-200", "checkpoint-300"])
    assert done.out == dry.out.replace("would remove", "removed").replace("would keep", "kept")

    again = audit("prune", run, "--keep", "2")
    assert (again.code, again.out) == (
        0,
        "kept  checkpoint-200  (proven)\nkept  checkpoint-300  (proven)\nnothing to remove\n",
    )
    assert audit("verify", run, "--fail-on", "warning").code == 0


def test_a_broken_one_is_named_as_such(audit: Audit, run: str) -> None:
    Path(run, "checkpoint-100", "optimizer.pt").unlink()
    assert ", not proven)" in audit("prune", run, "--keep", "1").out.splitlines()[0]


def test_too_few_proven_ones_are_a_refusal_only_if_there_are_more_than_to_keep(audit: Audit, run: str) -> None:
    for name in names(run):
        Path(run, name, "optimizer.pt").unlink()

    ended = audit("prune", run, "--keep", "2")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"audit prune: {run}: none of the 3 checkpoints is removed: no checkpoint is proven; ")
    assert ended.err.count("\n") == 1
    dry = audit("prune", run, "--keep", "2", "--dry-run", "--format", "json")
    assert (dry.code, json.loads(dry.out)["removed"]) == (1, [])
    assert f"audit prune: {json.loads(dry.out)['refusal']}\n" == ended.err == dry.err

    kept = json.loads(dry.out)["kept"]
    assert [item["checkpoint"] for item in kept] == names(run), "all of them stay"
    assert all(item["reason"].startswith("not proven: optimizer.pt is not there") for item in kept), kept

    enough = audit("prune", run, "--keep", "3")
    assert (enough.code, enough.err) == (0, "")
    assert enough.out.endswith("nothing to remove\n")
    assert len(names(run)) == 3


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_refusal_says_of_all_that_stays_whether_it_is_proven(audit: Audit, run: str, dry: list[str]) -> None:
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    refused = json.loads(audit("prune", run, "--keep", "3", "--format", "json", *dry).out)
    assert (refused["refusal"], len(refused["kept"])) == (None, 3), "no more than to keep is no refusal"

    Path(run, "checkpoint-200", "optimizer.pt").unlink()
    refused = json.loads(audit("prune", run, "--keep", "2", "--format", "json", *dry).out)
    assert "none of the 3 checkpoints is removed" in refused["refusal"]
    reasons = {item["checkpoint"]: item["reason"].partition(":")[0] for item in refused["kept"]}
    assert reasons == {"checkpoint-100": "proven", "checkpoint-200": "not proven", "checkpoint-300": "not proven"}
    with RunLock(run, "trained"):
        locked = json.loads(audit("prune", run, "--keep", "2", "--format", "json", *dry).out)
    assert (locked["kept"], locked["removed"]) == ([], []), "nobody has looked"


def test_what_an_interrupted_call_left_is_said_to_be_cleared(audit: Audit, run: str) -> None:
    os.makedirs(os.path.join(run, TRASH))
    os.rename(os.path.join(run, "checkpoint-100"), os.path.join(run, TRASH, "checkpoint-100"))
    assert audit("prune", run, "--keep", "2").out.startswith("cleared  .audit/trash: 1 left by an interrupted call")


def test_a_run_that_is_being_trained_is_refused_in_one_line(audit: Audit, run: str) -> None:
    with RunLock(run, "trained"):
        ended = audit("prune", run, "--keep", "1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"audit prune: {run}: is being trained by this process since 2")
    assert ended.err.count("\n") == 1
    assert len(names(run)) == 3


@pytest.mark.parametrize("count", ["0", "-1", "x", "", "1.5", "²", "99999999999"])
def test_a_count_that_is_none_is_a_usage_error(audit: Audit, run: str, count: str) -> None:
    assert "is not a number of at least 1" in one_line(audit("prune", run, f"--keep={count}"))
    assert len(names(run)) == 3


def test_the_count_has_to_be_given(audit: Audit, run: str) -> None:
    assert "required: --keep" in one_line(audit("prune", run))


def test_a_run_that_is_not_there_is_one_line_and_is_not_made(audit: Audit, tmp_path: Path) -> None:
    assert "no such run" in one_line(audit("prune", str(tmp_path / "none"), "--keep", "1"))
    assert not (tmp_path / "none").exists()


def test_a_directory_that_is_no_run_is_one_line_and_stays_as_it_is(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no checkpoint-N directory in it" in one_line(audit("prune", str(tmp_path / "empty"), "--keep", "1"))
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_run_that_has_not_saved_yet_has_nothing_to_remove(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "young" / ".audit").mkdir(parents=True)
    assert audit("prune", str(tmp_path / "young"), "--keep", "1") == Ended(0, "nothing to remove\n", "")


def test_quiet_says_nothing(audit: Audit, run: str) -> None:
    assert audit("prune", run, "--keep", "1", "-q") == Ended(0, "", "")
    assert names(run) == ["checkpoint-300"]
