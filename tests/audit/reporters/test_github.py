"""Workflow commands: what the runner of GitHub Actions reads from them, and that it reads nothing else."""

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from audit.findings import Finding, Severity
from audit.hookspecs import PLAIN, Context
from audit.report import Report
from audit.reporters import console
from audit.reporters.github import render
from tests.audit.reporters.conftest import HOSTILE

HARMLESS = {"error", "warning", "notice", "debug"}


class Command(NamedTuple):
    """A command as the runner understands it."""

    name: str
    properties: dict[str, str]
    text: str


def obeyed(output: str) -> list[Command]:
    """What the runner makes of the output of a step: ``ActionCommand.cs`` of actions/runner, in few words."""
    found = []
    for line in re.split(r"\r\n|\r|\n", output):
        new = re.match(r"\s*::([^\s:]+)(?: (.*?))?::(.*)$", line, re.DOTALL)
        old = re.search(r"##\[([^\]\s]+)[^\]]*\]", line)
        if new:
            pairs = (pair.split("=", 1) for pair in (new[2] or "").split(",") if pair)
            properties = {key: unescaped(value, "%3A:", "%2C,") for key, value in pairs}
            found.append(Command(new[1], properties, unescaped(new[3])))
        elif old:
            found.append(Command(old[1], {}, ""))
    return found


def unescaped(text: str, *more: str) -> str:
    for pair in ("%0D\r", "%0A\n", *more, "%25%"):
        text = text.replace(pair[:3], pair[3:])
    return text


def test_the_whole_output(report: Report, context: Context, golden: Callable[[str, str], None]) -> None:
    golden("github.txt", render([report], context))


def test_the_runner_reads_what_was_meant(report: Report, context: Context) -> None:
    lost, verdict, crash, missing, _, outlier, waiting, note = obeyed(render([report], context))

    assert lost == Command("error", {"title": "not audited"}, "no\\nwhere: no such run")
    assert verdict.name == "error"
    assert verdict.text == (
        "current_model: BROKEN  (4 checkpoints, 2 errors, 1 warning, 1 note). Resume from checkpoint-100."
    )
    assert (crash.name, crash.properties) == ("error", {"title": "rule crashed"})
    assert missing == Command(
        "error",
        {"file": "current_model/checkpoint-200/optimizer.pt", "title": "files/missing-optimizer"},
        "optimizer.pt is not there\n-> Resume from an older checkpoint.",
    )
    assert outlier.text == "a weight is far outside\nexpected 1000, found inf\n-> Look at it."
    assert (outlier.name, waiting.name, note.name) == ("warning", "notice", "notice")
    assert waiting.properties["file"] == "current_model/checkpoint-400"


def test_a_hostile_name_gives_no_order(report: Report, context: Context) -> None:
    evil = report._replace(path="run\n::add-mask::a")

    commands = obeyed(render([evil], context))

    assert {command.name for command in commands} <= HARMLESS
    assert len(commands) == len(obeyed(render([report], context)))
    assert all(command.properties.keys() <= {"file", "title"} for command in commands)
    assert commands[4].properties["title"] == "files/unreadable"
    assert commands[4].properties["file"].endswith(",title=e:\\x00<f>&\"'.pt")
    assert "100%." in commands[4].text


@pytest.mark.parametrize("context", [PLAIN, Context(verbosity=1)])
def test_the_console_report_in_a_log_gives_no_order_either(report: Report, context: Context) -> None:
    assert obeyed(console.render([report], context)) == []


def test_the_check_itself_sees_an_order() -> None:
    assert [command.name for command in obeyed(f"cannot read {HOSTILE}")] == ["set-output", "add-mask"]


def test_a_sound_run_is_one_notice(report: Report) -> None:
    sound = report._replace(findings=(), outcomes=(), notes=())

    (command,) = obeyed(render([sound]))

    assert command.name == "notice"
    assert command.text.startswith("current_model: SOUND  (4 checkpoints).")


def test_quiet_is_the_verdict_and_what_makes_it_incomplete(report: Report) -> None:
    assert [c.properties["title"] for c in obeyed(render([report], Context(verbosity=-1)))] == [
        "audit verify",
        "rule crashed",
    ]


def test_verbose_also_says_what_could_not_be_judged_in_the_debug_log(report: Report) -> None:
    last = obeyed(render([report], Context(verbosity=1)))[-1]

    assert last == Command("debug", {}, "not applicable  loss/jump  the run: not enough data")


@pytest.mark.parametrize("file", ["../../elsewhere.txt", "/etc/passwd"])
def test_no_annotation_points_out_of_the_checkpoint(report: Report, file: str) -> None:
    finding = Finding("x/y", Severity.ERROR, "checkpoint-200", file, "m", None, None, "r", True)

    (_, command) = obeyed(render([report._replace(findings=(finding,), outcomes=(), notes=())]))

    assert command.properties["file"] == "current_model/checkpoint-200"


def test_an_accepted_finding_is_a_notice(report: Report) -> None:
    error = next(item for item in report.findings if item.rule == "files/missing-optimizer")

    text = render([report._replace(findings=(error._replace(blocks_resume=False, accepted="meant\n::error::so"),))])

    (line,) = (line for line in text.splitlines() if "files/missing-optimizer" in line)
    assert line.startswith("::notice file=")
    assert "title=accepted%3A files/missing-optimizer::" in line
    assert line.endswith("-> accepted: meant\\n::error::so")
