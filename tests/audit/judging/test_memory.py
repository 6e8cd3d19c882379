"""The guard judges an unchanged run by its last judgement, and any other run anew."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Severity
from audit.judging.auditor import Auditor
from audit.judging.decision import Limits
from audit.judging.guard import Guarded, consult
from audit.judging.memory import KEY
from audit.ledger.records import read_records
from audit.options import Options
from audit.reporters.json import document
from audit.testing.runs import edit_state, make_run
from tests.audit.seals import WEIGHTS, flip, rows, verified

SETTLED = Options(settle_seconds=0)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A sealed run whose judgement is remembered."""
    path = make_run(tmp_path / "run")
    verified(path)
    return path


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Guarded, int]]:
    """``guarded(run)``: what the guard says, and how often the rules were asked for it."""
    calls: list[int] = []
    report = Auditor.report

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return report(*arguments)

    monkeypatch.setattr(Auditor, "report", counted)

    def call(run: str, options: Options = SETTLED, **limits: Any) -> tuple[Guarded, int]:
        calls.clear()
        return consult(run, Limits(**limits), options), len(calls)

    return call


def said(guarded: Guarded) -> Any:
    whole = document(guarded.report)
    del whole["summary"]["seconds"], whole["summary"]["bytes_read"]
    whole["outcomes"] = [
        item for item in whole["outcomes"] if item["rule"] not in ("steps/reset", "integrity/seal-broken")
    ]
    return guarded.decision, json.dumps(whole)


def test_an_unchanged_run_is_not_judged_again_and_the_answer_is_the_same(run: str, guarded: Any) -> None:
    known, calls = guarded(run)
    assert calls == 0
    anew, calls = guarded(run, SETTLED._replace(cache=False))
    assert calls == 1
    assert said(known) == said(anew)
    assert known.report.bytes_read == 0


def test_the_guard_itself_remembers_what_it_judged(tmp_path: Path, guarded: Any) -> None:
    path = make_run(tmp_path / "new")

    assert [guarded(path)[1] for _ in range(3)] == [1, 0, 0]


def test_it_is_recorded_all_the_same(run: str, guarded: Any) -> None:
    guarded(run)
    guarded(run)

    assert len(rows(run, "observation")) == 3
    assert [row["step"] for row in rows(run, "guard")] == [300, 300]


def _touch(run: str) -> None:
    os.utime(f"{run}/checkpoint-100/{WEIGHTS}")


def _bytes(run: str) -> None:
    flip(f"{run}/checkpoint-300/{WEIGHTS}", keep_times=False)


def _another_file(run: str) -> None:
    Path(run, "checkpoint-100", "note.txt").write_text("x")


def _file_of_the_root(run: str) -> None:
    Path(run, "note.txt").write_text("x")


def _removed(run: str) -> None:
    shutil.rmtree(f"{run}/checkpoint-100")


def _cut_save(run: str) -> None:
    Path(run, "checkpoint-400").mkdir()


def _replaced(run: str) -> None:
    path = f"{run}/checkpoint-300/{WEIGHTS}"
    info = os.stat(path)
    shutil.copyfile(path, f"{run}/copy")
    os.rename(f"{run}/copy", path)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [_touch, _bytes, _another_file, _file_of_the_root, _removed, _cut_save, _replaced],
    ids=lambda f: f.__name__,
)
def test_any_change_has_it_judged_anew(run: str, guarded: Any, change: Callable[[str], None]) -> None:
    change(run)

    assert guarded(run)[1] == 1


def test_other_rules_or_thresholds_judge_anew(run: str, guarded: Any) -> None:
    for options in (
        SETTLED._replace(select=("files",)),
        SETTLED._replace(ignore=("loss",)),
        SETTLED._replace(rules={"learning-rate/rose-again": {"bow": 0.03}}),
        SETTLED._replace(depth="quick"),
        SETTLED._replace(cache=False),
    ):
        assert guarded(run, options)[1] == 1, options
    assert guarded(run, lineage="checkpoint-200")[1] == 1


def test_limits_that_the_newest_keeps_need_no_new_judgement(run: str, guarded: Any) -> None:
    answer, calls = guarded(run, strict=True, max_rollback=0)

    assert (answer.decision.checkpoint, calls) == ("checkpoint-300", 0)


def test_an_exact_resume_is_answered_by_the_same_judgement(run: str, guarded: Any) -> None:
    answer, calls = guarded(run, exact=True)

    assert (answer.decision.checkpoint, calls) == ("checkpoint-300", 0)
    assert guarded(run)[1] == 0


def test_what_would_block_an_exact_resume_is_judged_each_time(tmp_path: Path, guarded: Any) -> None:
    options, run = SETTLED._replace(severity={"files/missing-rng-state": Severity.INFO}), make_run(tmp_path / "run")
    os.unlink(f"{run}/checkpoint-300/rng_state.pth")

    for _ in range(2):
        answer, calls = guarded(run, options)
        assert (answer.decision.checkpoint, calls) == ("checkpoint-300", 1)
        answer, calls = guarded(run, options, exact=True)
        assert (answer.decision.checkpoint, calls) == ("checkpoint-200", 1)


def test_a_run_of_which_something_is_to_be_said_is_judged_each_time(run: str, guarded: Any) -> None:
    edit_state(f"{run}/checkpoint-300", global_step=299)

    for _ in range(2):
        answer, calls = guarded(run)
        assert (answer.decision.checkpoint, calls) == ("checkpoint-200", 1)


def test_a_step_that_was_lost_meanwhile_is_not_forgotten(run: str, guarded: Any) -> None:
    other = make_run(f"{run}-other", steps=(400,), save_steps=100)
    root = os.stat(run)
    shutil.move(f"{other}/checkpoint-400", run)
    verified(run, select=("steps",))
    shutil.rmtree(f"{run}/checkpoint-400")
    os.utime(run, ns=(root.st_atime_ns, root.st_mtime_ns))

    answer, calls = guarded(run)

    assert calls == 1
    assert [item.rule for item in answer.report.findings] == ["steps/reset"]


def test_a_pin_of_the_newest_checkpoint_changes_nothing_that_was_judged(run: str, guarded: Any) -> None:
    from audit.retention.pins import pin

    pin(run, "checkpoint-300")

    assert guarded(run)[1] == 0


def test_a_byte_changed_with_the_mtime_put_back_has_a_pinned_run_judged_anew(run: str, guarded: Any) -> None:
    from audit.retention.pins import pin

    pin(run, "checkpoint-300")
    flip(f"{run}/checkpoint-300/{WEIGHTS}", keep_times=True)

    answer, calls = guarded(run)
    assert calls >= 1
    assert answer.decision.checkpoint == "checkpoint-200"


def test_a_pin_that_is_further_on_is_still_looked_at(run: str, guarded: Any) -> None:
    from audit.retention.pins import pin

    pin(run, "checkpoint-300")
    shutil.rmtree(f"{run}/checkpoint-300")
    verified(run)

    assert guarded(run)[0].decision.checkpoint == ".audit/pinned/checkpoint-300"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[1]", '["", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]', '{"resume_from": 1}', "[" * 9000]
)
def test_garbage_in_its_place_is_not_believed(run: str, guarded: Any, text: str) -> None:
    from audit.ledger.store import open_ledger

    ledger = open_ledger(run, write=True)
    assert ledger is not None
    stamp = ledger.scans()[KEY][0]
    ledger.remember(KEY[0], {KEY[1]: (stamp, text)})
    ledger.close()

    answer, calls = guarded(run)

    assert (answer.decision.checkpoint, calls) == ("checkpoint-300", 1)


def test_a_judgement_that_the_chain_does_not_vouch_for_is_not_believed(run: str, guarded: Any) -> None:
    from tests.audit.seals import execute

    execute(run, "UPDATE scans SET content = replace(content, 'sound', 'Sound') || ' ' WHERE checkpoint = ''")

    assert KEY not in read_records(run, write=False)[0].scans
    assert guarded(run)[1] == 1
