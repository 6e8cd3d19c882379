"""audit verify: verdict, exit code, report; one line and exit 2 for whatever cannot be done."""

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audit.findings import Severity, Violation
from audit.manager import Registry, load
from audit.reporters.plugin import FORMATS
from audit.rules import rule
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]
SCHEMA = json.loads((files("audit") / "schemas" / "report-1.json").read_text(encoding="utf-8"))


def test_a_sound_run_is_exit_code_0(audit: Audit, run: str) -> None:
    ended = audit("verify", run)
    assert (ended.code, ended.err) == (0, "")
    assert f"{run}: SOUND  (3 checkpoints)" in ended.out
    assert "Resume from checkpoint-300." in ended.out


def test_a_broken_run_is_exit_code_1_and_says_what_to_do(audit: Audit, broken: str) -> None:
    ended = audit("verify", broken)
    assert (ended.code, ended.err) == (1, "")
    assert "BROKEN  (3 checkpoints, 1 error)" in ended.out
    assert "files/missing-optimizer  checkpoint-300/optimizer.pt" in ended.out
    assert "Resume from checkpoint-200." in ended.out


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 1), ("never", 0)])
def test_fail_on_says_from_which_severity_on(audit: Audit, run: str, fail_on: str, code: int) -> None:
    Path(run, "checkpoint-300", "rng_state.pth").unlink()
    assert audit("verify", run, "--fail-on", fail_on).code == code


def test_fail_on_never_forgives_errors(audit: Audit, broken: str) -> None:
    assert audit("verify", broken, "--fail-on", "never").code == 0


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_the_json_report_fits_its_schema(audit: Audit, broken: str, depth: str) -> None:
    ended = audit("verify", broken, "--format", "json", "--depth", depth)
    report = json.loads(ended.out)
    jsonschema.validate(report, SCHEMA)
    assert ended.code == 1
    assert (report["verdict"], report["resume_from"]) == ("broken", "checkpoint-200")
    assert report["summary"]["depth"] == depth
    assert [finding["rule"] for finding in report["findings"]] == ["files/missing-optimizer"]


def test_several_runs_are_one_report_and_the_worst_one_decides(audit: Audit, run: str, broken: str) -> None:
    ended = audit("verify", run, broken, "--format", "json")
    report = json.loads(ended.out)
    jsonschema.validate(report, SCHEMA)
    assert [item["verdict"] for item in report["runs"]] == ["sound", "broken"]
    assert ended.code == 1


def test_several_runs_on_the_console(audit: Audit, run: str, broken: str) -> None:
    out = audit("verify", run, broken).out
    assert f"{run}: SOUND" in out
    assert f"\n\n{broken}: BROKEN" in out


def test_the_report_can_be_written_to_a_file(audit: Audit, broken: str, tmp_path: Path) -> None:
    ended = audit("verify", broken, "--format", "json", "--output", str(tmp_path / "report.json"))
    assert (ended.code, ended.out) == (1, "")
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text()), SCHEMA)


def test_select_and_ignore_choose_rules_and_families(audit: Audit, broken: str) -> None:
    assert audit("verify", broken, "--select", "steps,history").code == 0
    assert audit("verify", broken, "--select", "steps", "--select", "files").code == 1
    assert audit("verify", broken, "--ignore", "files/missing-optimizer").code == 0
    assert audit("verify", broken, "--select", "files", "--ignore", "files/missing-optimizer").code == 0


def test_less_and_more_can_be_said(audit: Audit, broken: str) -> None:
    assert audit("verify", "-q", broken).out == f"{broken}: BROKEN  (3 checkpoints, 1 error)\n"
    assert "not applicable  " in audit("verify", "-v", broken).out


def test_one_checkpoint_may_be_named(audit: Audit, broken: str) -> None:
    sound = audit("verify", f"{broken}/checkpoint-200", "--format", "json")
    assert sound.code == 0
    assert [item["name"] for item in json.loads(sound.out)["checkpoints"]] == ["checkpoint-200"]
    assert audit("verify", f"{broken}/checkpoint-300/").code == 1


def test_an_empty_directory_is_no_run_unless_that_is_expected(audit: Audit, tmp_path: Path) -> None:
    empty = str(tmp_path / "cwd")
    assert "no checkpoint-N directory in it" in one_line(audit("verify", empty))
    expected = audit("verify", empty, "--allow-empty")
    assert (expected.code, expected.err) == (0, "")
    assert "Nothing has been trained here yet." in expected.out


def test_an_empty_run_fits_the_schema(audit: Audit, tmp_path: Path) -> None:
    report = json.loads(audit("verify", str(tmp_path / "cwd"), "--allow-empty", "--format", "json").out)
    jsonschema.validate(report, SCHEMA)
    assert (report["checkpoints"], report["resume_from"], report["run"]["latest_step"]) == ([], None, None)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--select", "files/missing-optimiser"], "did you mean 'files/missing-optimizer'"),
        (["--ignore", "fils"], "no rule or family is named 'fils'; did you mean 'files'"),
        (["--format", "yaml"], f"no format is named 'yaml'; available: {', '.join(load().reporters)}"),
        (["--backend", "hf-trainr"], "no backend is named 'hf-trainr'; did you mean 'hf-trainer'"),
        (["--config", "/nowhere/audit.toml"], "/nowhere/audit.toml: cannot be read: No such file or directory"),
        (["--output", "/nowhere/report"], "--output /nowhere/report: cannot be written"),
        (["--fail-on", "info"], "argument --fail-on: invalid choice"),
        (["--depth", "deep"], "argument --depth: invalid choice"),
        (["--jobs", "0"], "'0' is not a number from 1 to 256"),
        (["--jobs", "1000000"], "is not a number from 1 to 256"),
        (["--no-leger"], "unrecognized arguments: --no-leger; did you mean '--no-ledger'"),
        (["--depth", "fulll"], "; did you mean 'full'?"),
        (["--no-led"], "unrecognized arguments: --no-led"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--two\nlines"], "unrecognized arguments: --two lines"),
    ],
)
def test_what_means_nothing_is_one_line(audit: Audit, run: str, arguments: list[str], part: str) -> None:
    assert part in one_line(audit("verify", run, *arguments))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nowhere", "no such run"),
        ("nowhere/checkpoint-3", "no such run"),
        ("checkpoint-3", "checkpoint-3: no such checkpoint; there: none"),
        ("a\nb\x1b[31m", "a b\\x1b[31m: no such run"),
        ("##[add-mask]c", "##\\x5badd-mask]c: no such run"),
    ],
)
def test_a_run_that_is_not_there_is_one_line(audit: Audit, tmp_path: Path, name: str, part: str) -> None:
    assert part in one_line(audit("verify", str(tmp_path / name)))


def test_a_file_is_no_run(audit: Audit, run: str) -> None:
    assert "is not a directory" in one_line(audit("verify", f"{run}/checkpoint-300/optimizer.pt"))


def test_one_run_that_cannot_be_audited_is_exit_code_2_and_keeps_back_no_other_report(
    audit: Audit, run: str, tmp_path: Path
) -> None:
    ended = audit("verify", run, str(tmp_path / "nowhere"))
    assert ended.code == 2
    assert ended.out.startswith(f"{run}: SOUND")
    assert ended.err.count("\n") == 1
    assert "nowhere: no such run" in ended.err


def test_several_runs_are_a_list_even_where_one_cannot_be_audited(audit: Audit, run: str, tmp_path: Path) -> None:
    ended = audit("verify", run, str(tmp_path / "nowhere"), "--format", "json")
    report = json.loads(ended.out)
    jsonschema.validate(report, SCHEMA)
    assert [item["run"]["path"] for item in report["runs"]] == [run]
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_several_runs_of_which_none_can_be_audited_are_an_empty_list(audit: Audit, tmp_path: Path) -> None:
    ended = audit("verify", str(tmp_path / "nowhere"), str(tmp_path / "either"), "--format", "json")
    report = json.loads(ended.out)
    jsonschema.validate(report, SCHEMA)
    assert (ended.code, report["runs"], ended.err.count("\n")) == (2, [], 2)


@pytest.mark.parametrize("kind", [name for name in FORMATS if name not in ("console", "json")])  # these: on stderr
def test_a_run_that_cannot_be_audited_is_no_silence_in_ci(audit: Audit, run: str, tmp_path: Path, kind: str) -> None:
    ended = audit("verify", run, str(tmp_path / "nowhere"), "--format", kind)
    assert ended.code == 2
    assert "nowhere: no such run" in ended.out


def test_a_checkpoint_behind_a_link_is_not_silently_sound(audit: Audit, run: str) -> None:
    Path(run, "checkpoint-400").symlink_to("checkpoint-300")
    assert "is a link" in one_line(audit("verify", f"{run}/checkpoint-400"))


def test_options_may_stand_between_the_runs(audit: Audit, run: str, broken: str) -> None:
    report = json.loads(audit("verify", run, "--depth", "quick", broken, "--format", "json").out)
    assert [item["run"]["path"] for item in report["runs"]] == [run, broken]


def test_what_follows_two_dashes_is_a_name(audit: Audit) -> None:
    assert "--strange: no such run" in one_line(audit("verify", "--depth", "quick", "--", "--strange"))


def test_a_command_is_needed(audit: Audit) -> None:
    ended = audit()
    assert ended.code == 2
    assert "verify" in ended.out
    assert "invalid choice: 'verfy'" in one_line(audit("verfy"))
    assert "; did you mean 'verify'?" in one_line(audit("verfy"))
    assert "required: RUN" in one_line(audit("verify"))


def test_the_configuration_here_is_read_and_the_command_line_wins(audit: Audit, broken: str) -> None:
    Path("audit.toml").write_text('ignore = ["files/missing-optimizer"]\nfail-on = "never"\n')
    assert "SOUND" in audit("verify", broken).out
    Path("audit.toml").write_text('fail-on = "never"\n')
    assert audit("verify", broken).code == 0
    assert audit("verify", broken, "--fail-on", "error").code == 1


def test_a_typo_in_the_configuration_switches_nothing_off(audit: Audit, broken: str) -> None:
    Path("audit.toml").write_text('[severity]\n"files/missing-optimiser" = "info"\n')
    line = one_line(audit("verify", broken))
    assert "audit.toml: severity: no rule is named 'files/missing-optimiser'; did you mean" in line


def test_the_audited_run_cannot_configure_its_audit(audit: Audit, broken: str) -> None:
    for place in (broken, f"{broken}/checkpoint-300"):
        Path(place, "audit.toml").write_text('ignore = ["files"]\n')
    assert audit("verify", broken).code == 1


def test_a_rule_that_crashes_is_exit_code_2_and_the_findings_are_still_shown(
    audit: Audit, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crashing(run: Any) -> Iterator[Violation]:
        """Crashes."""
        raise ZeroDivisionError("oops")
        yield

    registry = load()
    bad = rule(Severity.ERROR, id="x/crashing", remedy="Report it.")(crashing)

    def loaded() -> Registry:
        return registry.with_rules([*registry.rules, bad])

    monkeypatch.setattr("audit.cli.verify.load", loaded)
    ended = audit("verify", broken)
    assert ended.code == 2
    assert "rule crashed: x/crashing: ZeroDivisionError: oops" in ended.out
    assert "files/missing-optimizer" in ended.out


def test_our_own_fault_is_one_line_and_a_traceback_on_request(
    audit: Audit, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("audit.cli.verify.verify", failing)
    assert "internal error, please report it: KeyError: 'lost'" in one_line(audit("verify", run))
    monkeypatch.setenv("AUDIT_TRACEBACK", "1")
    with pytest.raises(KeyError):
        audit("verify", run)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 2)])
def test_an_interruption_and_a_full_memory_are_one_line(
    audit: Audit, run: str, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("audit.cli.verify.verify", failing)
    ended = audit("verify", run)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
