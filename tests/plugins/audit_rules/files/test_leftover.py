"""files/leftover: names that look like checkpoints and are none."""

import os
import shutil
from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, report
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import judged, names, remove

RULE = "files/leftover"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("checkpoint-best", "rotation counts and deletes it"),
        ("checkpoint-10-backup", "rotation counts and deletes it"),
        ("checkpoint-", "rotation counts and deletes it"),
        ("tmp-checkpoint-400", "was left behind by a killed save"),
    ],
)
def test_a_directory_that_only_looks_like_a_checkpoint_is_named(run: str, name: str, part: str) -> None:
    Path(run, name).mkdir()
    (finding,) = check(run, RULE)
    assert (finding.checkpoint, finding.file, finding.severity) == (None, name, Severity.WARNING)
    assert part in finding.message
    assert not finding.blocks_resume


def test_leading_zeros_are_not_trainer_s(run: str) -> None:
    shutil.move(f"{run}/checkpoint-300", f"{run}/checkpoint-0300")
    (finding,) = check(run, RULE)
    assert finding.file == "checkpoint-0300"
    assert "Trainer writes checkpoint-300" in finding.message


def test_a_file_named_like_a_checkpoint_is_seen_by_no_resume(run: str) -> None:
    Path(run, "checkpoint-400").write_text("x")
    (finding,) = check(run, RULE)
    assert finding.message == "checkpoint-400 is a file, not a directory; a resume ignores it"


def test_a_link_that_leads_nowhere_and_a_fifo_are_left_to_another_rule(run: str) -> None:
    Path(run, "checkpoint-400").symlink_to("gone")
    os.mkfifo(f"{run}/checkpoint-500")
    assert not check(run, RULE)
    assert len(check(run, "security/special-file")) == 2


@pytest.mark.parametrize("target", ["checkpoint-300", "..", "../elsewhere"])
def test_a_link_that_a_resume_follows_is_left_to_another_rule(run: str, target: str) -> None:
    Path(run, "../elsewhere").mkdir()
    Path(run, "checkpoint-400").symlink_to(target)
    assert not check(run, RULE)
    assert len(check(run, "security/escaping-path")) == 1


@pytest.mark.parametrize("name", ["runs", "logs-checkpoint", "best-checkpoint-100", "checkpoints"])
def test_other_directories_of_a_run_are_its_own_business(run: str, name: str) -> None:
    Path(run, name).mkdir()
    assert not check(run, RULE)


def test_a_file_beside_the_checkpoints_may_be_called_anything(run: str) -> None:
    Path(run, "checkpoint-notes.txt").write_text("do not delete 200")
    assert not check(run, RULE)


def test_of_several_temporary_files_the_one_in_the_message_is_the_file_of_the_finding(run: str) -> None:
    for name in (".tmpAbCdEf", ".tmpGhIjKl"):
        Path(run, "checkpoint-200", name).write_bytes(bytes(100))
    (finding,) = check(run, RULE)
    assert finding.file is not None
    assert finding.message.startswith(f"{finding.file} ")


@pytest.mark.parametrize("place", ["", "second/"])
def test_an_orphan_temporary_file_inside_a_checkpoint_only_costs_space(run: str, place: str) -> None:
    Path(run, "checkpoint-200", place).mkdir(exist_ok=True)
    Path(run, "checkpoint-200", f"{place}.tmpAbCdEf").write_bytes(bytes(100))
    (finding,) = check(run, RULE)
    assert (finding.checkpoint, finding.file) == ("checkpoint-200", f"{place}.tmpAbCdEf")
    assert finding.severity is Severity.INFO


def test_the_temporary_file_of_a_torn_save_is_part_of_that_finding(run: str) -> None:
    Path(run, "checkpoint-200", ".tmpAbCdEf").write_bytes(bytes(100))
    remove(run, "trainer_state.json")
    assert names(judged(run)) == [("files/incomplete-checkpoint", "checkpoint-200", None)]


def test_a_checkpoint_inside_another_one_is_named(run: str) -> None:
    shutil.move(f"{run}/checkpoint-300", f"{run}/checkpoint-100/checkpoint-300")
    (finding,) = check(run, RULE)
    assert (finding.checkpoint, finding.file) == ("checkpoint-100", "checkpoint-300")
    assert finding.message == "checkpoint-300 is inside checkpoint-100, where a resume ignores it"


def test_a_link_to_a_directory_further_down_in_the_run_is_no_leftover(run: str) -> None:
    shutil.move(f"{run}/checkpoint-300", f"{run}/store/kept")
    Path(run, "checkpoint-300").symlink_to("store/kept")
    assert not check(run, RULE)
    assert [finding.rule for finding in report(run, "security").findings] == ["security/escaping-path"]
