"""Findings as the text of a failed test: no traceback, what is wrong first, what to do last."""

from collections.abc import Sequence

from audit.plugin import Evidence, Finding, Report


class AuditWarning(UserWarning):
    """A finding of severity warning. The filters of warnings apply: ``-W error`` makes it a failure."""


class Violated(Exception):
    """A rule found something; the text is for people, ``headline`` for lists of failures."""

    def __init__(self, text: str, headline: str) -> None:
        super().__init__(text)
        self.headline = headline


class NotJudged(Violated):
    """The audit could not be done, or a rule crashed: nothing is known about the run."""


def violated(findings: Sequence[Finding], report: Report, *, whole: bool) -> Violated:
    """Put the failure of one item together. ``whole``: all checkpoints of the run were judged, not one alone."""
    lines = [line for finding in findings for line in (*lines_of(finding), "")]
    if any(finding.blocks_resume for finding in findings):
        lines.append(report.resume_in_words if whole else "`audit guard` names the checkpoint to resume from.")
    lines.append(f"`audit explain {findings[0].rule}` says why this matters.")
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return Violated("\n".join(lines), printable(findings[0].message) + more)


def lines_of(finding: Finding) -> list[str]:
    """Rule and place, message, evidence, remedy or why it is accepted."""
    place = "/".join(part for part in (finding.checkpoint, finding.file) if part) or "the run"
    lines = [f"{finding.word}  {finding.rule}  {place}", f"    {finding.message}"]
    if finding.expected is not None or finding.actual is not None:
        lines.append(f"    expected {_show(finding.expected)}, found {_show(finding.actual)}")
    lines.append(f"    -> {finding.remedy}" if finding.accepted is None else f"    -> accepted: {finding.accepted}")
    return [printable(line) for line in lines]


def in_one_line(finding: Finding) -> str:
    """Return a finding for the summary of warnings."""
    what = finding.remedy if finding.accepted is None else f"accepted: {finding.accepted}"
    return printable(f"{finding.rule}: {finding.message} -> {what}")


def printable(text: str) -> str:
    """Return text of an untrusted run in one line, without control characters."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.splitlines()))


def for_pytest(error: Exception) -> str:
    """Return an error of the audit in one line, with pytest's name of the option that it may contain."""
    text = printable(str(error)).replace("Options(allow_empty=True)", "--allow-empty")
    return text.replace("--allow-empty", "--audit-allow-empty")


def _show(value: Evidence) -> str:
    return "nothing" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)
