"""``audit guard``: the path alone on stdout, reasons on stderr, the exit codes of the contract."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audit.retention.lock import RunLock
from audit.retention.pins import pin
from audit.testing.runs import make_run
from tests.audit.cli.conftest import Ended, command, one_line
from tests.zero import make_zero

Audit = Callable[..., Ended]


def document(ended: Ended) -> Any:
    schemas = files("audit") / "schemas"
    found = json.loads(ended.out)
    jsonschema.validate(found, json.loads((schemas / "guard-1.json").read_text(encoding="utf-8")))
    jsonschema.validate(found["report"], json.loads((schemas / "report-1.json").read_text(encoding="utf-8")))
    return found


def test_the_path_stands_alone_on_stdout(audit: Audit, run: str) -> None:
    assert audit("guard", run) == (0, f"{run}/checkpoint-300\n", "")
    assert audit("guard", f"{run}/") == (0, f"{run}/checkpoint-300\n", "")


def test_what_was_skipped_is_named_on_stderr(audit: Audit, broken: str) -> None:
    ended = audit("guard", broken)

    assert (ended.code, ended.out) == (0, f"{broken}/checkpoint-200\n")
    skipped, behind = ended.err.splitlines()
    assert skipped.startswith("skipped checkpoint-300: ")
    assert skipped.endswith("(files/missing-optimizer)")
    assert behind == "note: rolls back 100 steps, 300 -> 200"


def test_a_pin_that_is_handed_out_is_said_to_be_one(audit: Audit, run: str) -> None:
    assert audit("verify", run).code == 0
    pin(run, "checkpoint-300")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()

    ended = audit("guard", run)

    assert (ended.code, ended.out) == (0, f"{run}/.audit/pinned/checkpoint-300\n")
    assert ended.err.splitlines()[1:] == ["note: using the pinned copy of checkpoint-300"]


@pytest.mark.parametrize("limits", [["--strict"], ["--max-rollback", "99"]])
def test_a_refusal_is_exit_1_and_stdout_stays_empty(audit: Audit, broken: str, limits: list[str]) -> None:
    ended = audit("guard", broken, *limits)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith(f"refused: {broken}: ")


def test_nothing_trained_is_exit_0_and_empty_stdout(audit: Audit, tmp_path: Path) -> None:
    new = str(tmp_path / "new")
    assert audit("guard", new, "--allow-missing") == (0, "", "start fresh: nothing has been trained here\n")
    (tmp_path / "empty").mkdir()
    assert audit("guard", str(tmp_path / "empty")) == (0, "", "start fresh: nothing has been trained here\n")
    assert os.listdir(tmp_path / "empty") == []
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_not_there_is_no_fresh_start(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    line = one_line(audit("guard", "current_mdoel"))

    assert f"there is no directory {tmp_path}/current_mdoel" in line
    assert "--allow-missing" in line
    assert not (tmp_path / "current_mdoel").exists()


def test_a_training_in_progress_is_said(audit: Audit, run: str) -> None:
    with RunLock(run, "trained"):
        ended = audit("guard", run)
        found = document(audit("guard", run, "--format", "json"))

    assert ended.code == 0
    assert f"note: {run} is being trained by this process" in ended.err
    assert any("is being trained" in note for note in found["report"]["notes"])
    assert "is being" not in audit("guard", run).err


def test_starting_over_has_to_be_allowed(audit: Audit, run: str) -> None:
    assert audit("guard", run).code == 0
    for step in (100, 200, 300):
        shutil.rmtree(f"{run}/checkpoint-{step}")

    refused = audit("guard", run)
    assert (refused.code, refused.out) == (1, "")
    assert "the ledger records step 300" in refused.err
    assert audit("guard", run, "--allow-fresh") == (
        0,
        "",
        "note: rolls back 300 steps, 300 -> 0\nstart fresh: --allow-fresh was given\n",
    )


def test_one_checkpoint_a_file_and_nonsense_are_exit_2(audit: Audit, run: str) -> None:
    assert "is one checkpoint" in one_line(audit("guard", f"{run}/checkpoint-300"))
    assert "is not a directory" in one_line(audit("guard", f"{run}/checkpoint-300/optimizer.pt"))
    assert "--lineage checkpoint-1" in one_line(audit("guard", run, "--lineage", "checkpoint-1"))
    for steps in ("-1", "x", "1.5", "9" * 16):
        assert "is not a number of steps" in one_line(audit("guard", run, f"--max-rollback={steps}"))


def test_a_directory_of_runs_is_no_run_and_names_them(audit: Audit, run: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / "many" / name)

    ended = audit("guard", str(tmp_path / "many"))

    assert (ended.code, ended.out) == (2, "")
    assert "name one of the 2 runs below it (one, two), or audit them all with audit fleet" in one_line(ended)


def test_where_nothing_is_resumable_the_ways_on_are_named(audit: Audit, run: str) -> None:
    for step in (100, 200, 300):
        Path(run, f"checkpoint-{step}", "optimizer.pt").unlink()

    said = audit("guard", run).err.splitlines()

    assert said[-2].endswith("no checkpoint can be resumed from")
    assert said[-1].startswith("to go on: move broken ones away (audit quarantine ")
    assert said[-1].endswith("or start over at step 0 (--allow-fresh)")


def test_json_says_the_same(audit: Audit, run: str, broken: str, tmp_path: Path) -> None:
    found = document(audit("guard", run, "--format", "json"))
    assert (found["decision"], found["checkpoint"], found["step"]) == ("resume", "checkpoint-300", 300)
    assert found["path"] == f"{run}/checkpoint-300"

    found = document(audit("guard", broken, "--format", "json"))
    assert [item["checkpoint"] for item in found["skipped"]] == ["checkpoint-300"]
    assert found["behind"] == 100

    refused = audit("guard", broken, "--format", "json", "--strict")
    assert refused.code == 1
    assert document(refused)["decision"] == "refused"

    found = document(audit("guard", str(tmp_path / "new"), "--format", "json", "--allow-missing"))
    assert (found["decision"], found["path"]) == ("fresh", None)


def test_processes_that_cannot_resume_are_refused(audit: Audit, tmp_path: Path) -> None:
    run = str(make_zero(tmp_path / "zero", (100,)))

    assert audit("guard", run, "--processes", "2").out.endswith("checkpoint-100\n")
    refused = audit("guard", run, "--processes", "4")

    assert (refused.code, refused.out) == (1, "")
    assert "checkpoint-100 was saved by 2 processes and 4 will resume: DeepSpeed loads the partitions" in refused.err


def test_processes_that_can_resume_hear_what_becomes_of_the_random_states(audit: Audit, run: str) -> None:
    ended = audit("guard", run, "--processes", "2")

    assert ended.code == 0
    assert "warning: checkpoint-300 was saved by 1 and 2 will resume" in ended.err


def test_a_path_of_any_bytes_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/r\xff n"
    make_run(os.fsdecode(path))
    done = subprocess.run(command(["guard", os.fsdecode(path)]), capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (0, path + b"/checkpoint-300\n")


def test_a_name_from_the_run_cannot_write_on_the_terminal(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint-1\x1b[2J\nstart fresh").mkdir(parents=True)

    ended = audit("guard", str(tmp_path / "run"))

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 2)
    assert "\x1b" not in ended.err


def test_quiet_leaves_out_that_nothing_went_wrong(audit: Audit, broken: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert audit("guard", str(tmp_path / "empty"), "-q") == Ended(0, "", "")
    assert "skipped checkpoint-300" in audit("guard", broken, "-q").err
