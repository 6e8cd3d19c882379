"""The console report: verdict first, one line per checkpoint, each finding with what to do."""

import re

from audit.findings import Finding, Severity
from audit.hookspecs import Context
from audit.report import Report
from audit.reporters.console import render

EXPECTED = """\
current_model: BROKEN  (4 checkpoints, 2 errors, 1 warning, 1 note)
  ok    checkpoint-100    9 files   123.5 kB  resumable  <- resume from here
  FAIL  checkpoint-200    8 files   100.0 kB  not resumable
  warn  checkpoint-300    9 files   123.5 kB  resumable, 1 warning
  wait  checkpoint-400    2 files      999 B  not resumable

error  files/missing-optimizer  checkpoint-200/optimizer.pt
    optimizer.pt is not there
    -> Resume from an older checkpoint.

error  files/unreadable  checkpoint-200/x\\n::set-output name=a::b\\r%0A::error::c##\\x5badd-mask]d\\x1b[2J\\udcff\\u202e,title=e:\\x00<f>&"'.pt
    cannot read 'x\\n::set-output name=a::b\\r%0A::error::c##\\x5badd-mask]d\\x1b[2J\\udcff\\u202e,title=e:\\x00<f>&"'.pt': {0} \
[sound](https://evil.example) ]]></failure>\\n::warning::g
    expected a\\x00b, found nothing
    -> Restore it, 100%.

warning  weights/outlier  checkpoint-300/adapter_model.safetensors
    a weight is far outside
    expected 1000, found inf
    -> Look at it.

info  files/incomplete-checkpoint  checkpoint-400
    is being written right now
    -> Wait.

Resume from checkpoint-100.
1 check passed, 1 not applicable; 28 files, 347.9 kB read at depth full in 0.21 s
note: not recorded: 'a\\n::error::b' is read-only
rule crashed: acme/broken: KeyError: 'x' (broken.py, line 3); please report this
"""


def test_the_whole_report(report: Report) -> None:
    assert render([report]) == EXPECTED


def test_colour_changes_nothing_but_colour(report: Report) -> None:
    colored = render([report], Context(color=True))

    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == EXPECTED


def test_quiet_is_the_verdict_alone(report: Report) -> None:
    assert render([report], Context(verbosity=-1)) == EXPECTED.splitlines()[0] + "\n"


def test_verbose_also_says_what_could_not_be_judged_and_why(report: Report) -> None:
    assert "not applicable  loss/jump  the run: not enough data" in render([report], Context(verbosity=1))


def test_names_from_the_run_cannot_write_to_the_terminal(report: Report) -> None:
    evil = report._replace(path="run\x1b[2J\nsound")

    assert render([evil]).startswith("run\\x1b[2J\\nsound: BROKEN")
    assert "\x1b[2J" not in render([evil], Context(color=True))


def test_an_empty_run_says_so(report: Report) -> None:
    empty = report._replace(checkpoints=(), findings=(), outcomes=(), resume_from=None, latest_step=None)

    assert "Nothing has been trained here yet." in render([empty])


def test_the_newest_checkpoint_with_an_error_is_not_offered_without_a_word(report: Report) -> None:
    error = next(item for item in report.findings if item.severity is Severity.ERROR)
    finding = error._replace(checkpoint="checkpoint-100", blocks_resume=False)

    text = render([report._replace(findings=(finding,))])

    row = next(line for line in text.splitlines() if "<- newest resumable" in line)
    assert row.split() == [
        *["FAIL", "checkpoint-100", *row.split()[2:6], "resumable,", "1", "error", "<-", "newest", "resumable"]
    ]
    assert f"The newest resumable checkpoint is checkpoint-100; look at {error.rule} first." in text


def test_an_accepted_finding_is_called_so_in_its_row_and_below(report: Report) -> None:
    error = next(item for item in report.findings if item.severity is Severity.ERROR)
    finding = error._replace(checkpoint="checkpoint-100", blocks_resume=False, accepted="meant\x1b[2J so")

    text = render([report._replace(findings=(finding,))])

    assert text.startswith("current_model: SOUND  (4 checkpoints, 1 accepted)\n")
    row = next(line for line in text.splitlines() if "<- resume from here" in line)
    assert row.split()[0] == "ok"
    assert "resumable, 1 accepted  <-" in row
    assert f"accepted  {error.rule}  checkpoint-100/" in text
    assert "-> accepted: meant\\x1b[2J so" in text


def test_the_same_finding_in_several_checkpoints_is_told_once(report: Report) -> None:
    (first, *rest) = report.findings
    same = [first._replace(checkpoint=f"checkpoint-{step}") for step in (200, 300, 400, 500, 600, 700)]

    def told(*findings: Finding) -> list[str]:
        text = render([report._replace(findings=findings)])
        return [line for line in text.splitlines() if line.startswith("error  files/missing-optimizer")]

    line = "error  files/missing-optimizer  checkpoint-200/optimizer.pt"
    assert told(*same[:2], *rest) == [f"{line}, and in checkpoint-300"]
    assert told(*same[:4]) == [f"{line}, and in checkpoint-300, checkpoint-400, checkpoint-500"]
    assert told(*same) == [f"{line}, and in checkpoint-300, checkpoint-400, checkpoint-500 and 2 more"]
    for other in ({"message": "another"}, {"remedy": "another"}, {"expected": 3}, {"file": "x"}, {"accepted": "yes"}):
        assert len(told(same[0], same[1]._replace(**other))) == 2 - ("accepted" in other)
    assert len(told(first._replace(checkpoint=None), first)) == 2
