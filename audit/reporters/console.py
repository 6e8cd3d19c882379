"""The report for people: the verdict first, one line per checkpoint, then the findings with what to do."""

from collections.abc import Sequence

from audit.findings import ACCEPTED, Finding, Outcome, Severity
from audit.hookspecs import PLAIN, Context
from audit.report import BROKEN, SOUND, SUSPECT, CheckpointSummary, Report
from audit.reporters.words import advice, counted, difference, place, printable, verdict_of
from audit.text import human_bytes

VERDICT_STYLE = {SOUND: "bold green", SUSPECT: "bold yellow", BROKEN: "bold red"}
SEVERITY_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}
ACCEPTED_STYLE = "bold green"
MARK = {"ok": "green", "warn": "yellow", "FAIL": "red", "wait": "cyan", "?": "cyan"}

_NAMED = 3
"""So many other checkpoints with the same finding are named."""

Line = list[tuple[str, str]]
"""Pieces of one line: text and style."""


def render(reports: Sequence[Report], context: Context = PLAIN) -> str:
    """Return the text, of the length that ``context.verbosity`` asks for."""
    lines: list[Line] = []
    for number, report in enumerate(reports):
        if number:
            lines.append([])
        lines += _report(report, context.verbosity)
    if not context.color:
        return "".join(printable("".join(text for text, _ in line)).rstrip() + "\n" for line in lines)
    return _colored(lines)


def _report(report: Report, verbosity: int) -> list[Line]:
    lines = [_headline(report)]
    if verbosity < 0:
        return lines
    width = max((len(item.name) for item in report.checkpoints), default=0)
    found: dict[str | None, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(finding.checkpoint, []).append(finding)
    for item in report.checkpoints:
        own = found.get(item.name, [])
        mark = _mark(item, [finding for finding in own if finding.accepted is None])
        size = f"{item.files:>3} files  {human_bytes(item.bytes):>9}"
        notes = item.word + (_but(own) if item.resumable else "")
        if item.name == report.resume_from:
            notes += "  <- newest resumable" if report.doubts or report.pinned else "  <- resume from here"
        lines.append([("  ", ""), (f"{mark:<4}", MARK[mark]), (f"  {item.name:<{width}}  {size}  {notes}", "")])
    for same in _alike(report.findings):
        lines.append([])
        lines += _finding(same)
    lines.append([])
    lines.append([(report.resume_in_words, "bold")])
    lines.append([(_footer(report), "dim")])
    lines += [[("note: ", "bold cyan"), (note, "")] for note in report.notes]
    for crash in report.crashed:
        lines.append([("rule crashed: ", "bold red"), (f"{crash.rule}: {crash.reason}; please report this", "")])
    if verbosity > 0:
        lines.append([])
        lines += _unjudged(report)
    return lines


def _but(own: Sequence[Finding]) -> str:
    """Say in the row of a resumable checkpoint what its mark stands for: ``, 1 error``."""
    words = [finding.word for finding in own]
    counts = [(words.count(level.value), level.value) for level in (Severity.ERROR, Severity.WARNING)]
    texts = [f", {number} {word}{'s' if number != 1 else ''}" for number, word in counts if number]
    return "".join([*texts, *([f", {words.count(ACCEPTED)} {ACCEPTED}"] if ACCEPTED in words else [])])


def _headline(report: Report) -> Line:
    tail = f"  ({counted(report)})"
    return [(f"{report.path}: ", ""), (verdict_of(report), VERDICT_STYLE[report.verdict]), (tail, "")]


def _mark(item: CheckpointSummary, own: Sequence[Finding]) -> str:
    """The mark of a checkpoint by the most severe of its ``own`` findings, without those that are accepted."""
    if any(finding.severity is Severity.ERROR for finding in own):
        return "FAIL"
    if any(finding.severity is Severity.WARNING for finding in own):
        return "warn"
    if not item.resumable and any(finding.blocks_resume for finding in own):
        return "wait"
    return "ok" if item.judged else "?"


def _alike(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same of the same file of several checkpoints, together where the first of them is."""
    found: dict[tuple[object, ...], list[Finding]] = {}
    for item in findings:
        said = (item.rule, item.word, item.file, item.message, difference(item), advice(item), item.checkpoint is None)
        found.setdefault(said, []).append(item)
    return list(found.values())


def _finding(same: Sequence[Finding]) -> list[Line]:
    """The lines of a finding, and in which other checkpoints it is the ``same``."""
    finding, others = same[0], [item.checkpoint or "" for item in same[1:]]
    also = ""
    if others:
        left = len(others) - _NAMED
        also = f", and in {', '.join(others[:_NAMED])}" + (f" and {left} more" if left > 0 else "")
    style = SEVERITY_STYLE[finding.severity] if finding.accepted is None else ACCEPTED_STYLE
    lines: list[Line] = [
        [(finding.word, style), (f"  {finding.rule}", "bold"), (f"  {place(finding)}{also}", "")],
        [(f"    {finding.message}", "")],
    ]
    if evidence := difference(finding):
        lines.append([(f"    {evidence}", "")])
    lines.append([("    -> ", "cyan"), (advice(finding), "")])
    return lines


def _footer(report: Report) -> str:
    passed = report.tally(Outcome.PASS)
    skipped = report.tally(Outcome.NOT_APPLICABLE)
    return (
        f"{passed} check{'s' if passed != 1 else ''} passed, {skipped} not applicable; {report.files} files, "
        f"{human_bytes(report.bytes_read)} read at depth {report.depth} in {report.seconds:.2f} s"
    )


def _unjudged(report: Report) -> list[Line]:
    return [
        [(f"not applicable  {item.rule}  {item.checkpoint or 'the run'}: {item.reason}", "dim")]
        for item in report.outcomes
        if item.outcome is Outcome.NOT_APPLICABLE
    ]


def _colored(lines: list[Line]) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=10_000, highlight=False)
    for line in lines:
        text = Text()
        for piece, style in line:
            text.append(printable(piece), style=style or None)
        text.rstrip()
        console.print(text, soft_wrap=True)
    return out.getvalue()
