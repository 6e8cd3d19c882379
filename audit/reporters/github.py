"""Annotations of GitHub Actions: workflow commands that the runner reads from a step's output.

Source: docs.github.com, "Workflow commands for GitHub Actions"; what must be escaped is in ``command.ts`` of
@actions/core, and how it is read back in ``ActionCommand.cs`` of actions/runner. Every line is a command of ours;
what comes from the run is escaped in it, as the runner would execute a line of its own that begins with ``::``.

The summary of a job is a file (``GITHUB_STEP_SUMMARY``), not output, so no reporter writes it; docs/ci.md has the line
that appends a report to it.
"""

from collections.abc import Iterator, Sequence

from audit.findings import ACCEPTED, Finding, Outcome, Severity
from audit.hookspecs import PLAIN, Context
from audit.report import BROKEN, SOUND, SUSPECT, Report
from audit.reporters.words import advice, counted, difference, location, printable, verdict_of, why

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
VERDICTS = {BROKEN: "error", SUSPECT: "warning", SOUND: "notice"}


def render(reports: Sequence[Report], context: Context = PLAIN) -> str:
    """Return one line for the verdict on each run, then one for each finding. Quiet: only the verdicts.

    GitHub shows ten errors, ten warnings and ten notices of a step; the verdict comes first so that it is among them.
    """
    lines = [_command("error", why(item), title="not audited") for item in context.unaudited]
    for report in reports:
        lines += _report(report, context.verbosity)
    return "".join(line + "\n" for line in lines)


def _report(report: Report, verbosity: int) -> Iterator[str]:
    verdict = f"{report.path}: {verdict_of(report)}  ({counted(report)}). {report.resume_in_words}"
    yield _command(VERDICTS[report.verdict], verdict, title="audit verify")
    for crash in report.crashed:
        reason = f"{crash.rule}: {crash.reason}; the audit is incomplete, please report this"
        yield _command("error", reason, title="rule crashed")
    if verbosity < 0:
        return
    for finding in report.findings:
        yield _finding(report, finding)
    for note in report.notes:
        yield _command("notice", note, title="note")
    if verbosity > 0:
        for item in report.outcomes:
            if item.outcome is Outcome.NOT_APPLICABLE:
                where = item.checkpoint or "the run"
                yield _command("debug", f"not applicable  {item.rule}  {where}: {item.reason}")


def _finding(report: Report, finding: Finding) -> str:
    file, _ = location(report, finding)
    lines = (finding.message, difference(finding), f"-> {advice(finding)}")
    if finding.accepted is not None:
        return _command("notice", *lines, file=file, title=f"{ACCEPTED}: {finding.rule}")
    return _command(COMMANDS[finding.severity], *lines, file=file, title=finding.rule)


def _command(name: str, *lines: str, **properties: str) -> str:
    """Return ``::name key=value::text``; the lines of the text reach the annotation as lines."""
    pairs = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    text = _data("\n".join(printable(line) for line in lines if line))
    return f"::{name}{' ' if pairs else ''}{pairs}::{text}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")
