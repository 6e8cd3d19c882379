"""What several formats say in the same words, and how text from the audited run is made harmless."""

import os

from audit.findings import ACCEPTED, Finding, Severity
from audit.hookspecs import Unaudited
from audit.report import Report
from audit.text import escaped

WORDS = ((Severity.ERROR, "error"), (Severity.WARNING, "warning"), (Severity.INFO, "note"))


def printable(text: str) -> str:
    r"""Return text with every character visible and nothing that a log executes: names come from the audited run.

    Line ends, escape sequences, marks that change the direction of writing, and bytes that are not UTF-8 become ``\n``,
    ``\x1b``, ``\u202e``, ``\udcff``. The runner of GitHub Actions takes ``##[command]`` anywhere in a line
    for a command (actions/runner, ``ActionCommand.TryParse``), that of Azure Pipelines ``##vso[command]`` too: the
    bracket becomes ``\x5b``.
    """
    seen = escaped(text)
    return seen.replace("##[", "##\\x5b").replace("##vso[", "##vso\\x5b") if "##" in seen else seen


def counted(report: Report) -> str:
    """Return ``3 checkpoints, 1 not judged, 1 error, 2 notes, 1 accepted``."""
    counts = [(len(report.checkpoints), "checkpoint"), *((report.count(level), word) for level, word in WORDS)]
    accepted = [f"{report.accepted} {ACCEPTED}"] if report.accepted else []
    texts = [
        f"{number} {word}{'s' if number != 1 else ''}" for number, word in counts if number or word == "checkpoint"
    ]
    unjudged = sum(not item.judged for item in report.checkpoints)
    return ", ".join([*texts[:1], *([f"{unjudged} not judged"] if unjudged else []), *texts[1:], *accepted])


def verdict_of(report: Report) -> str:
    """Return ``BROKEN``, ``SUSPECT``, ``SOUND``, or ``SOUND AS FAR AS READ`` if a checkpoint is not judged."""
    return report.verdict_for_people.upper()


def place(finding: Finding) -> str:
    """Return where a finding is: ``checkpoint-300/optimizer.pt``, or ``the run``."""
    return "/".join(part for part in (finding.checkpoint, finding.file) if part) or "the run"


def difference(finding: Finding) -> str:
    """Return ``expected 3, found nothing``, or an empty string if a finding compares nothing."""
    if finding.expected is None and finding.actual is None:
        return ""
    return f"expected {_show(finding.expected)}, found {_show(finding.actual)}"


def advice(finding: Finding) -> str:
    """Return what to do about a finding, or why a person has accepted it."""
    return finding.remedy if finding.accepted is None else f"{ACCEPTED}: {finding.accepted}"


def _show(value: object) -> str:
    return "nothing" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)


def why(item: Unaudited) -> str:
    """Return why a run could not be audited, beginning with its path."""
    return item.reason if item.reason.startswith(item.path) else f"{item.path}: {item.reason}"


def path_from_here(path: str) -> str:
    """Return the path as it is seen from the current directory; absolute if it leads out of it.

    Services name files so: by their path in the checkout in which the audit runs. Links are not followed: a
    checkout may be reached through one.
    """
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.split(os.sep)[0] == os.pardir else relative


def location(report: Report, finding: Finding) -> tuple[str, bool]:
    """Return the path of what a finding is about, from the current directory, and whether it is a directory.

    The name of a file may come from another file of the run: if it leads out of the checkpoint, the checkpoint is
    named instead, so that no alert points at a file outside the run.
    """
    home = os.path.normpath(os.path.join(report.path, finding.checkpoint or ""))
    path = os.path.normpath(os.path.join(home, finding.file or ""))
    inside = path.startswith(os.path.join(home, "")) or (home == os.curdir and not path.startswith((os.pardir, os.sep)))
    return path_from_here(path if inside else home), not inside
