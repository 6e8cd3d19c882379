"""What the items say: one for every outcome of the report, and each readable."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.options import Options
from audit.testing.runs import edit_scheduler, make_run
from audit_rules.files import missing_optimizer
from pytest_audit import judging
from tests.plugins.pytest_audit.conftest import ids

Start = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]

RANDOM = "current_model/checkpoint-100::files/missing-rng-state"


def test_every_outcome_of_the_report_is_an_item(pytester: pytest.Pytester, broken: Path) -> None:
    report = verify(str(broken), Options(ledger=False))

    listed = ids(pytester.runpytest("--audit", "current_model/", "--collect-only", "-q"))

    assert len(listed) == len(set(listed)) > 100
    assert set(listed) == {
        f"{'/'.join(filter(None, ('current_model', item.checkpoint)))}::{item.rule}" for item in report.outcomes
    }


def test_each_outcome_is_that_of_the_report(start: Start, broken: Path) -> None:
    report = verify(str(broken), Options(ledger=False))
    outcomes = [item.outcome.value for item in report.outcomes]

    result = start("--audit", "current_model")

    result.assert_outcomes(
        failed=1, passed=outcomes.count("pass") + 1, skipped=outcomes.count("not-applicable"), warnings=1
    )
    assert outcomes.count("fail") == 2


def test_a_run_is_verified_once(pytester: pytest.Pytester, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0])
        return verify(*arguments, **options)

    monkeypatch.setattr(judging, "verify", counted)

    result = pytester.runpytest("--audit", "current_model")

    assert result.parseoutcomes()["failed"] == 2
    assert calls == [str(broken)]


def test_listing_the_items_reads_no_checkpoint(
    pytester: pytest.Pytester, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("verified")

    monkeypatch.setattr(judging, "verify", never)

    assert len(ids(pytester.runpytest("--audit", "current_model", "--collect-only", "-q"))) > 100


def test_a_failure_reads_without_a_traceback(pytester: pytest.Pytester, run: Path) -> None:
    edit_scheduler(run / "checkpoint-200", last_epoch=150, _step_count=151)

    result = pytester.runpytest("--audit", "current_model", "-k", "scheduler/step-mismatch")

    text = result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "*__ scheduler/step-mismatch in current_model/checkpoint-200 __*",
            "error  scheduler/step-mismatch  checkpoint-200/scheduler.pt",
            "    *",
            "    expected 200, found 150",
            "    -> *",
            "Resume from checkpoint-100.",
            "`audit explain scheduler/step-mismatch` says why this matters.",
            "FAILED current_model/checkpoint-200::scheduler/step-mismatch - *",
        ]
    )
    assert ".py" not in text.partition("FAILURES")[2]
    assert "Error" not in text


def test_what_had_nothing_to_judge_is_skipped_with_its_reason(pytester: pytest.Pytester, broken: Path) -> None:
    result = pytester.runpytest("--audit", "current_model", "-rs")

    result.stdout.re_match_lines(
        [
            r"SKIPPED \[\d+\] current_model: save_total_limit is not set",
            r"SKIPPED \[\d\] current_model/checkpoint-200: .+",
        ]
    )


def test_a_warning_is_a_pytest_warning(start: Start, broken: Path) -> None:
    result = start("--audit", "current_model", "-k", "missing-rng-state")

    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(
        [
            RANDOM,
            "  current_model/checkpoint-100:0: AuditWarning: files/missing-rng-state: rng_state.pth is not there*->*",
        ]
    )


@pytest.mark.parametrize("option", ["--audit-warnings=fail", "-Werror", "-Werror::pytest_audit.AuditWarning"])
def test_a_warning_is_a_failure_where_that_is_asked_for(start: Start, broken: Path, option: str) -> None:
    result = start("--audit", "current_model", "-k", "missing-rng-state", option)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "warning  files/missing-rng-state  checkpoint-100/rng_state.pth",
            f"FAILED {RANDOM} - rng_state.pth is not there*",
        ]
    )
    assert "AuditWarning" not in result.stdout.str()


def test_warnings_that_are_filtered_out_stay_out(pytester: pytest.Pytester, broken: Path) -> None:
    pytester.makepyprojecttoml(
        '[tool.pytest]\nfilterwarnings = ["error", "ignore::pytest_audit.AuditWarning"]\nstrict = true\n'
    )

    pytester.runpytest("--audit", "current_model", "-k", "missing-rng-state").assert_outcomes(passed=2)


def test_a_note_passes_and_is_kept(pytester: pytest.Pytester, broken: Path) -> None:
    pytester.path.joinpath("audit.toml").write_text('[severity]\n"files/missing-rng-state" = "info"\n')

    result = pytester.runpytest("--audit", "current_model", "-k", "missing-rng-state", "-rP", "--junitxml=found.xml")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["info  files/missing-rng-state  checkpoint-100/rng_state.pth"])
    assert '<property name="audit_info" value="files/missing-rng-state: ' in Path("found.xml").read_text()


def test_a_rule_that_crashes_is_an_error_and_not_a_failure(
    pytester: pytest.Pytester, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(checkpoint: Any, files: Any) -> Any:
        raise ValueError("no such luck\x1b[31m")

    rule = missing_optimizer.missing_optimizer
    monkeypatch.setattr(missing_optimizer, "missing_optimizer", rule._replace(function=crash, needs=("files",)))

    report = verify(str(run), Options(ledger=False))
    outcomes = [item.outcome.value for item in report.outcomes if "files" in item.rule]

    result = pytester.runpytest("--audit", "current_model", "-k", "files")

    result.assert_outcomes(errors=2, passed=outcomes.count("pass"), skipped=outcomes.count("not-applicable"))
    assert outcomes.count("error") == 2
    result.stdout.fnmatch_lines(
        ["rule files/missing-optimizer crashed: ValueError: no such luck\\x1b[[]31m*report this"]
    )
    assert "Traceback" not in result.stdout.str()
    assert "\x1b" not in result.stdout.str()


def test_a_rule_about_the_run_is_an_item_of_the_run(pytester: pytest.Pytester) -> None:
    make_run(pytester.path / "runs" / "v1.2", (100, 200, 300), layers=1, limit=1)

    result = pytester.runpytest("--audit", "runs/v1.2", "-k", "limit-exceeded", "-v")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["runs/v1.2::rotation/limit-exceeded FAILED*"])


def test_what_a_rule_about_the_run_finds_in_a_checkpoint_fails_the_run(start: Start, run: Path) -> None:
    (run / "tmp-checkpoint-300").mkdir()
    findings = [item for item in verify(str(run), Options(ledger=False)).findings if item.rule == "files/leftover"]

    result = start("--audit", "current_model", "-k", "files/leftover", "--audit-warnings=fail")

    assert findings
    result.assert_outcomes(failed=1)
    for finding in findings:
        result.stdout.fnmatch_lines([f"    {finding.message}"])


def test_names_from_the_run_do_not_reach_the_terminal_raw(pytester: pytest.Pytester, run: Path) -> None:
    os.mkfifo(run / "checkpoint-200" / "\x1b]0;owned\x07\n.pt")

    result = pytester.runpytest("--audit", "current_model", "--audit-select", "security,files", "-rs", "-v")

    assert result.ret == 1
    assert "owned" in result.stdout.str()
    assert not {"\x1b", "\x07"} & set(result.stdout.str())


def test_a_checkpoint_that_was_rotated_away_meanwhile_is_skipped(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makeconftest(
        "import shutil\ndef pytest_collection_finish():\n    shutil.rmtree('current_model/checkpoint-100')\n"
    )

    result = pytester.runpytest("--audit", "current_model", "-rs", "-k", "files")

    result.stdout.fnmatch_lines(["SKIPPED * current_model/checkpoint-100: checkpoint-100 is gone since *"])
    assert result.ret == 0


def test_a_run_that_vanished_is_an_error_in_one_line(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makeconftest("import shutil\ndef pytest_collection_finish():\n    shutil.rmtree('current_model')\n")

    result = pytester.runpytest("--audit", "current_model", "-k", "checkpoint-100 and missing-optimizer")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "The run could not be judged: *current_model: no such run*",
            "ERROR current_model/checkpoint-100::*no such run*",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_an_accepted_finding_is_an_expected_failure(start: Start, broken: Path) -> None:
    pyproject = broken.parent / "audit.toml"
    pyproject.write_text(
        '[[accept]]\nrule = "files/missing-rng-state"\ncheckpoint = "checkpoint-100"\nreason = "dropout is off"\n'
    )

    result = start("--audit", "current_model", "-k", "missing-rng-state", "-rx", "--audit-warnings=fail")

    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines([f"XFAIL {RANDOM} - accepted: dropout is off"])
