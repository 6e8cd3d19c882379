"""Nothing is proven that was not read: what every view and command says of a checkpoint that is not judged."""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from audit.api import guard, verify
from audit.cli import run as command
from audit.errors import AuditError, RefusedError
from audit.facts.run import Run
from audit.facts.unread import Unread
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.judging.verification import verify_run
from audit.manager import load
from audit.options import Options
from audit.reporters import console, github, junit, sarif
from audit.retention.prune import prune
from audit.retention.quarantine import UNJUDGED, choose
from audit.retention.snapshots import snapshot
from audit.storage import LocalStorage
from audit.testing.runs import make_run
from audit.views.curves import curves_of
from audit.views.inspection import inspect
from pytest_audit import AuditWarning, assert_sound
from tests.audit.unjudged import make_unjudged, to_unjudged

SETTLED = Options(settle_seconds=0)
FIRST = "global_step200/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
WORDS = f"4 files that a resume reads were not read, first {FIRST}"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_unjudged(tmp_path / "run")


def unread(run: str, name: str, **options: Any) -> dict[str, Unread] | None:
    opened = Run(run, LocalStorage(run), load().backend("hf-trainer"), settle_seconds=0, **options)
    found: dict[str, Unread] | None = next(item for item in opened.checkpoints if item.name == name).optional("unread")
    return found


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_the_parts_of_a_state_that_no_reader_understands_are_unread(run: str, depth: str) -> None:
    found = unread(run, "checkpoint-200", depth=depth)

    assert found is not None
    assert len(found) == 4
    assert found[FIRST] == Unread("is a part of a sharded state (deepspeed), which is not read", damaged=False)


@pytest.mark.parametrize("kind", [{}, {"full": True}, {"fp16": True}, {"world": 2}])
def test_of_what_trainer_saves_in_one_process_or_under_ddp_everything_is_read(tmp_path: Path, kind: Any) -> None:
    assert unread(make_run(tmp_path / "run", (100,), **kind), "checkpoint-100") == {}


def test_a_file_of_a_backend_in_no_known_format_is_unread(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    place = Path(run, "checkpoint-100")
    (place / "optimizer.pt").rename(place / "optimizer.pt_0")  # as on a TPU: one for each rank

    found = unread(run, "checkpoint-100")

    assert found is not None
    assert list(found) == ["optimizer.pt_0"]


def test_a_damaged_file_is_unread_and_a_fault_of_its_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(b"PK\3\4")

    found = unread(run, "checkpoint-100")

    assert found is not None
    assert found["optimizer.pt"].damaged


def test_what_holds_something_else_than_its_name_says_is_unread(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    place = Path(run, "checkpoint-100")
    shutil.copy(place / "scheduler.pt", place / "optimizer.pt")

    found = unread(run, "checkpoint-100")

    assert found is not None
    assert found["optimizer.pt"] == Unread("holds no optimizer state that can be read")


def test_with_its_rule_ignored_a_damaged_checkpoint_is_not_proven(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(b"PK\3\4")

    (summary,) = verify(run, SETTLED._replace(ignore=("integrity",))).checkpoints

    assert summary.resumable
    assert not summary.judged
    assert not summary.sealed


def test_an_incomplete_checkpoint_has_no_such_fact(run: str) -> None:
    os.unlink(f"{run}/checkpoint-200/trainer_state.json")

    assert unread(run, "checkpoint-200") is None


def test_it_is_neither_an_error_nor_a_warning_and_never_sealed(run: str) -> None:
    report = verify(run, SETTLED)

    assert report.verdict == "sound"
    assert {item.rule for item in report.findings} == {"files/not-judged"}
    assert [(item.resumable, item.judged, item.sealed) for item in report.checkpoints] == [(True, False, False)] * 2
    assert report.resume_from == "checkpoint-200"


def test_list_show_page_and_export_have_a_word_for_it(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect(run)
    assert found.standings["checkpoint-200"] == ("not judged", WORDS, True)
    assert found.standings["checkpoint-100"].state == "not judged"
    for words in (["list", run], ["show", f"{run}/checkpoint-200"], ["export", run, "--format", "json"]):
        assert command(words) == 0
        assert "not judged" in capsys.readouterr().out
    judged = verify_run(run, SETTLED)
    assert {mark.state for mark in curves_of(judged.run, judged.report).marks} == {"not judged"}


def test_every_report_says_so(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = verify(run, SETTLED)

    text = console.render([report])
    assert text.startswith(f"{run}: SOUND AS FAR AS READ  (2 checkpoints, 2 not judged, 2 notes)\n")
    assert "not judged  <- resume from here" in text
    assert "Resume from checkpoint-200, which is not judged." in text
    assert "SOUND AS FAR AS READ" in github.render([report])
    assert command(["report", run, "-o", f"{run}.html"]) == 0
    assert "is sound as far as read\n" in capsys.readouterr().out
    page = Path(f"{run}.html").read_text(encoding="utf-8")
    assert f"<title>{run}: sound as far as read - checkpoint audit</title>" in page
    assert "</span> sound as far as read</span>" in page
    assert "Resume from checkpoint-200, which is not judged.</p>" in page
    assert junit.render([report]).count('<property name="judged" value="false"/>') == 2
    assert json.loads(sarif.render([report]))["runs"][0]["properties"]["not_judged"] == [
        "checkpoint-100",
        "checkpoint-200",
    ]
    assert command(["verify", run, "--format", "json"]) == 0
    assert [item["judged"] for item in json.loads(capsys.readouterr().out)["checkpoints"]] == [False, False]


def test_a_judged_run_is_called_sound(tmp_path: Path) -> None:
    report = verify(make_run(tmp_path / "run"), SETTLED)

    assert console.render([report]).splitlines()[0].endswith("run: SOUND  (3 checkpoints)")
    assert all(item.judged and item.sealed for item in report.checkpoints)


def test_the_guard_hands_it_out_with_a_note(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["guard", run]) == 0

    output = capsys.readouterr()
    assert output.out == f"{run}/checkpoint-200\n"
    assert f"note: checkpoint-200 is not judged: {WORDS}; it is not proven" in output.err
    assert command(["guard", run, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["judged"] is False


def test_a_strict_guard_hands_out_nothing_and_ends_with_2(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["guard", run, "--strict"]) == 2

    output = capsys.readouterr()
    assert output.out == ""
    assert "checkpoint-200 is not judged" in output.err
    with pytest.raises(AuditError, match="is not judged"):
        guard(run, strict=True)


def test_a_strict_guard_hands_out_what_is_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    to_unjudged(Path(run, "checkpoint-100"), 100)

    assert consult(run, Limits(strict=True), SETTLED).decision.step == 300


def test_prune_removes_nothing_because_of_it(run: str) -> None:
    done = prune(run, 2, SETTLED)

    assert not done.removed
    assert done.kept[0].reason == "not judged; only 0 of the 2 to keep are proven"
    with pytest.raises(RefusedError, match="no checkpoint is proven; checkpoint-200: not judged"):
        prune(run, 1, SETTLED)
    assert sorted(os.listdir(run)) == [".audit", "checkpoint-100", "checkpoint-200"]


def test_prune_keeps_the_last_proven_one_below_those_that_are_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for step in (200, 300):
        to_unjudged(Path(run, f"checkpoint-{step}"), step)

    assert not prune(run, 1, SETTLED).removed


def test_snapshot_copies_nothing_as_proven(run: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no checkpoint is proven; checkpoint-200: not judged"):
        snapshot(run, str(tmp_path / "snapshots"), SETTLED)

    assert not (tmp_path / "snapshots").exists()


def test_seal_and_quarantine_say_so(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["seal", run]) == 1
    assert "not sealed  checkpoint-200: is not judged; see audit verify" in capsys.readouterr().out
    judged = verify_run(run, SETTLED)
    assert choose(judged.run, judged.report.findings, ["checkpoint-200"]).refused == {"checkpoint-200": UNJUDGED}
    forced = choose(judged.run, judged.report.findings, ["checkpoint-200"], force=True)
    assert forced.candidates[0].reason == "is not judged; moved on request"


def test_assert_sound_warns(run: str, tmp_path: Path) -> None:
    with pytest.warns(AuditWarning, match="checkpoint-200 is not judged"):
        assert_sound(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_sound(make_run(tmp_path / "other"))


def test_a_second_look_says_the_same(run: str) -> None:
    first, second = verify(run, SETTLED), verify(run, SETTLED)

    assert first.findings == second.findings
    assert [item.judged for item in second.checkpoints] == [False, False]
