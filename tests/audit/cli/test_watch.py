"""`audit watch` on a terminal, where it lives until Ctrl-C, and elsewhere, where it is one snapshot."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.ledger.progress import ProgressFile
from audit.retention.lock import RunLock
from tests.audit.cli.conftest import Ended, one_line
from tests.audit.cli.terminal import Terminal
from tests.audit.cli.test_documents import document

Audit = Callable[..., Ended]
CTRL_C = "\x03"


def screens(seen: str) -> list[list[str]]:
    """What was shown one after the other, as lines without control sequences."""
    parts = re.split(r"(?:\r?\x1b\[2K(?:\x1b\[1A)?)+", seen)
    return [re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", part).replace("\r", "").split("\n") for part in parts]


def test_elsewhere_than_on_a_terminal_it_is_one_snapshot(audit: Audit, run: str) -> None:
    ended = audit("watch", run)
    lines = ended.out.splitlines()

    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    assert lines[1:3] == [
        "process   none holds the lock of this run",
        "step      300 of 300  loss 1.378  learning rate 3.333e-07, as of checkpoint-300",
    ]
    assert re.fullmatch(r"disk      [0-9.]+ [kMGTP]B free; checkpoints 117\.[0-9] kB", lines[3])
    assert lines[4] == "verdict   sound by structure; resume from checkpoint-300"
    assert [line.split()[0] for line in lines[7:10]] == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert not os.path.exists(os.path.join(run, ".audit"))


def test_as_json_it_is_one_document_on_a_terminal_too(audit: Audit, run: str) -> None:
    found = document(audit, 0, "watch", run)

    assert [found[name] for name in ("verdict", "resume_from", "process", "training", "max_steps", "problem")] == [
        "sound", "checkpoint-300", None, None, 300, None,
    ]  # fmt: skip
    listed = document(audit, 0, "list", run)
    assert found["checkpoints"] == listed["checkpoints"]


def test_as_json_it_says_who_trains_and_where(audit: Audit, run: str) -> None:
    with RunLock(run, "trained"):
        ProgressFile(run, 400).advance(350, 1.25, 1e-4)
        found = document(audit, 0, "watch", run)

    assert found["process"]["pid"] == os.getpid()
    assert found["training"] == {"step": 350, "last_step": 400, "loss": 1.25, "learning_rate": 1e-4}


def test_a_broken_run_has_its_findings_and_is_no_failure(audit: Audit, broken: str) -> None:
    ended = audit("watch", broken)

    assert ended.code == 0
    assert "verdict   broken by structure; resume from checkpoint-200" in ended.out
    assert "  error  files/missing-optimizer  checkpoint-300: " in ended.out


@pytest.mark.parametrize(("path", "said"), [("nowhere", "no such run"), ("file", "is not a directory")])
def test_a_snapshot_of_nothing_is_an_error(audit: Audit, path: str, said: str) -> None:
    Path("file").touch()

    assert said in one_line(audit("watch", path))


def test_one_checkpoint_is_no_run(audit: Audit, run: str) -> None:
    assert "give the run that holds it" in one_line(audit("watch", os.path.join(run, "checkpoint-300")))


def test_the_step_is_that_of_the_training_while_it_holds_the_lock(audit: Audit, run: str) -> None:
    with RunLock(run, "trained"):
        ProgressFile(run, 400).advance(342, 1.25, 1e-4)
        during = audit("watch", run).out
    after = audit("watch", run).out

    assert "process   is being trained by this process since" in during
    assert "step      342 of 400  loss 1.25  learning rate 0.0001\n" in during
    assert "as of checkpoint-300" in after


def test_it_waits_for_a_run_shows_what_comes_and_ends_with_success(run: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    with Terminal(["watch", str(new), "--every", "0.1"]) as terminal:
        terminal.until("verdict   none: there is no")
        new.mkdir()
        terminal.until("none: no checkpoint-N directory")
        shutil.copytree(Path(run) / "checkpoint-100", new / "checkpoint-100")
        terminal.until("checkpoint-100: resumable")
        (new / "checkpoint-100" / "scheduler.pt").unlink()
        terminal.until("resumable by structure -> broken")
        shutil.rmtree(new)
        terminal.until("checkpoint-100: deleted")
        terminal.send(CTRL_C)
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.seen
        assert terminal.seen.rstrip().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_is_wider_than_the_terminal(broken: str, columns: int) -> None:
    with Terminal(["watch", broken, "--every", "0.1"], columns=columns) as terminal:
        seen = terminal.until(lambda seen: seen.count("verdict") > 3)
        terminal.send(CTRL_C)
        assert terminal.ended() == 0
    lines = [line for screen in screens(seen) for line in screen]

    assert max(map(len, lines)) <= columns
    assert any(line.startswith("verdict   broken") for line in lines)


def test_more_checkpoints_than_lines_are_counted(run: str) -> None:
    for step in range(400, 4400, 100):
        shutil.copytree(Path(run) / "checkpoint-300", Path(run) / f"checkpoint-{step}")
    with Terminal(["watch", run, "--every", "0.1"], rows=24) as terminal:
        seen = terminal.until(lambda seen: seen.count(" older") > 2)
        terminal.send(CTRL_C)
        assert terminal.ended() == 0
    shown = screens(seen)[1:3]

    assert [len(screen) <= 24 for screen in shown] == [True] * 2
    assert any("checkpoint-4300" in line for line in shown[0])


@pytest.mark.parametrize("every", ["0", "x", "nan", "4000"])
def test_an_interval_that_is_none_is_refused(audit: Audit, run: str, every: str) -> None:
    assert "is not a time from 0.1 to 3600 seconds" in one_line(audit("watch", run, "--every", every))
