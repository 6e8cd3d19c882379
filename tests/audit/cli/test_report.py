"""``audit report``: a page is written whatever it says, never into a checkpoint, and never instead of an error."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.hookspecs import hookimpl
from audit.testing.runs import make_run
from tests.audit.batch_rows import leg, tell
from tests.audit.cli.conftest import Ended, one_line
from tests.audit.cli.test_verify_changes_nothing import snapshot

Audit = Callable[..., Ended]


def test_the_page_of_a_broken_run_is_written_and_that_is_no_failure(audit: Audit, broken: str) -> None:
    ended = audit("report", broken, "-o", "page.html")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("page.html: ")
    assert "is broken" in ended.out
    assert "files/missing-optimizer" in Path("page.html").read_text(encoding="utf-8")


def test_a_page_on_stdout_is_alone_there(audit: Audit, run: str) -> None:
    ended = audit("report", run, "-o", "-")

    assert ended.code == 0
    assert ended.out.startswith("<!DOCTYPE html>\n")
    assert ended.out.endswith("</html>\n")


def test_several_runs_share_a_page(audit: Audit, run: str, broken: str) -> None:
    ended = audit("report", run, broken, "-q", "-o", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")

    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert page.count("<article") == 2
    assert page.index(f">{run}</h2>") < page.index(f">{broken}</h2>")


def test_a_run_that_is_not_there_does_not_keep_back_the_others(audit: Audit, run: str) -> None:
    ended = audit("report", "missing", run, "-o", "page.html")

    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert Path("page.html").read_text(encoding="utf-8").count("<article") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("missing", "-o", "page.html"), "missing: no such run"),
        (("missing", "elsewhere", "-o", "page.html"), "no such run"),
        (("RUN", "-o", "RUN/checkpoint-300/page.html"), "is inside a checkpoint"),
        (("RUN", "-o", "link/page.html"), "is inside a checkpoint"),
        (("RUN", "-o", "no/such/page.html"), "cannot be written"),
        (("RUN", "-o", "page.html", "--format", "pdf"), "available: html"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    audit: Audit, run: str, arguments: tuple[str, ...], reason: str
) -> None:
    Path("link").symlink_to(Path(run, "checkpoint-200"))
    before = snapshot(run)

    ended = audit("report", *(argument.replace("RUN", run) for argument in arguments), "--no-ledger")

    assert (ended.code, ended.out) == (2, "")
    assert reason in ended.err
    assert os.listdir(".") == ["link"]
    assert snapshot(run) == before


def test_no_command_writes_its_output_into_a_checkpoint(audit: Audit, run: str) -> None:
    assert "is inside a checkpoint" in one_line(audit("verify", run, "--output", f"{run}/checkpoint-100/report.txt"))


def test_a_page_changes_nothing_in_the_run(audit: Audit, broken: str) -> None:
    before = snapshot(broken)

    assert audit("report", broken, "--no-ledger", "-o", "page.html").code == 0
    assert snapshot(broken) == before


@pytest.mark.skipif("os.geteuid() == 0", reason="nothing is read-only for root")
def test_a_read_only_run_is_shown(audit: Audit, run: str) -> None:
    os.chmod(run, 0o555)

    assert audit("report", run, "-o", "page.html").code == 0


def test_a_run_in_which_nothing_was_trained_is_shown_if_that_is_expected(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    ended = audit("report", str(tmp_path / "empty"), "--allow-empty", "-o", "page.html")

    assert ended.code == 0
    assert "Nothing has been trained here yet." in Path("page.html").read_text(encoding="utf-8")


def test_a_plugin_brings_a_page_of_its_own(audit: Audit, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(runs: Any) -> str:
        return "".join(f"{item.report.verdict} at step {item.last_step}\n" for item in runs)

    from audit.manager import load

    plugin = SimpleNamespace(audit_pages=hookimpl(lambda: {"plain": plain}))
    monkeypatch.setattr("audit.cli.report.load", lambda: load([plugin]))

    assert audit("report", run, "--format", "plain", "-o", "-").out == "sound at step 300\n"


def test_a_crashed_rule_stands_on_the_page_and_is_exit_code_2(
    audit: Audit, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.findings import Severity
    from audit.manager import load
    from audit.rules import rule

    def crash(checkpoint: Any) -> Any:
        """Crash."""
        raise KeyError(checkpoint.name)

    made = rule(Severity.ERROR, id="acme/crash", remedy="None.")(crash)
    plugin = SimpleNamespace(audit_rules=hookimpl(lambda: [made]))
    monkeypatch.setattr("audit.cli.report.load", lambda: load([plugin]))

    assert audit("report", run, "-o", "page.html").code == 2
    assert "The rule acme/crash crashed" in Path("page.html").read_text(encoding="utf-8")


def test_the_ledger_says_which_data_a_batch_was(audit: Audit, tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    tell(path, leg("one", 0, 100), leg("two", 200, 300))

    page = audit("report", path, "-o", "-").out

    assert "data one.jsonl" in page
    assert "data two.jsonl" in page


def test_without_a_name_the_page_is_report_html_and_replaces_only_a_page(audit: Audit, run: str) -> None:
    assert audit("report", run).out.startswith("report.html: ")
    page = Path("report.html").read_text(encoding="utf-8")
    assert audit("report", run, "-q") == Ended(0, "", "")

    Path("report.html").write_text("<title>my own</title>")
    assert one_line(audit("report", run)).startswith("audit report: report.html: is there, and is not a page of")
    assert Path("report.html").read_text() == "<title>my own</title>"
    assert audit("report", run, "-o", "report.html").code == 0

    Path("page.html").write_text(page)
    Path("report.html").unlink()
    Path("report.html").symlink_to("page.html")
    assert "is not a page" in one_line(audit("report", run))
