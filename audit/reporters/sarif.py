"""SARIF 2.1.0, as code scanning of GitHub, GitLab, Azure DevOps and editors read it.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", and what GitHub asks beyond it,
docs.github.com, "SARIF support for code scanning". One run of SARIF is one run of training. What passed is not a
result: GitHub shows every result as an alert, whatever its kind. The driver lists the rules that ran.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from audit.findings import ACCEPTED, Finding, Outcome, Severity
from audit.hookspecs import PLAIN, Context, Unaudited
from audit.report import Report
from audit.reporters.words import advice, difference, location, path_from_here, printable, why
from audit.rules import Rule
from audit.version import __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
GITHUB_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "recommendation"}
BASE = "SRCROOT"
"""The directory in which the audit ran: the root of the checkout. What it is on that machine is left out."""
BASES = {BASE: {"description": {"text": "The directory in which the audit was run."}}}
LOST = "audit/not-audited"


def render(reports: Sequence[Report], context: Context = PLAIN) -> str:
    """Return the log: one run for each report, and one that failed for each run that could not be audited."""
    rules = {rule.id: rule for rule in context.rules}
    runs = [_run(report, rules) for report in reports]
    runs += [_lost(item) for item in context.unaudited]
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}
    return json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _run(report: Report, rules: Mapping[str, Rule]) -> dict[str, Any]:
    ran = sorted({item.rule for item in report.outcomes} | {item.rule for item in report.findings})
    places = {rule: index for index, rule in enumerate(ran)}
    path = printable(path_from_here(report.path))
    return {
        "tool": {"driver": {**_driver(), "rules": [_descriptor(name, rules.get(name)) for name in ran]}},
        # A category of its own for each run: GitHub then keeps the alerts of several runs apart.
        "automationDetails": {"id": f"checkpoint-audit/{path}/"},
        "invocations": [_invocation(report, places)],
        "originalUriBaseIds": BASES,
        "results": list(_results(report, places)),
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": report.verdict,
            "resume_from": _evidence(report.resume_from),
            "depth": report.depth,
            "not_judged": [_evidence(item.name) for item in report.checkpoints if not item.judged],
            "outcomes": {kind.value: report.tally(kind) for kind in Outcome},
        },
    }


def _driver() -> dict[str, Any]:
    return {"name": "checkpoint-audit", "version": __version__, "semanticVersion": __version__}


def _lost(item: Unaudited) -> dict[str, Any]:
    """A run that could not be audited: one result with the reason, under a name that no rule has.

    Readers need results (GitHub requires them, sarif-tools crashes without), and an empty list would mean that nothing
    was found.
    """
    path = path_from_here(item.path)
    uri, base = _uri(path, True)
    reason = _notification(why(item), "error")
    title = "The run could not be audited."
    return {
        "tool": {"driver": {**_driver(), "rules": [{"id": LOST, "shortDescription": {"text": title}}]}},
        "automationDetails": {"id": f"checkpoint-audit/{printable(path)}/"},
        "invocations": [{"executionSuccessful": False, "toolExecutionNotifications": [reason]}],
        "originalUriBaseIds": BASES,
        "results": [
            {
                "ruleId": LOST,
                "ruleIndex": 0,
                **reason,
                "locations": [_location(uri, base)],
                "partialFingerprints": _fingerprints(f"{LOST}\0{uri}"),
            }
        ],
    }


def _location(uri: str, base: Mapping[str, str]) -> dict[str, Any]:
    # A file of bytes has no lines, but GitHub asks for one.
    return {"physicalLocation": {"artifactLocation": {"uri": uri, **base}, "region": {"startLine": 1}}}


def _fingerprints(identity: str) -> dict[str, str]:
    """GitHub compares the second alone; CodeQL puts a digest of lines there, but any text will do."""
    mark = sha256(identity.encode()).hexdigest()
    return {"checkpointAudit/v1": mark, "primaryLocationLineHash": f"{mark[:16]}:1"}


def _descriptor(name: str, rule: Rule | None) -> dict[str, Any]:
    """A rule in the driver's list. Of a rule that is not installed here only the name is known."""
    if rule is None:
        return {"id": name}
    text = rule.documentation.replace("``", "`")
    title, *more = text.split("\n\n")
    blocks = f" A finding {rule.blocks}." if rule.blocks else ""
    return {
        "id": rule.id,
        "shortDescription": {"text": _braces(title)},
        "fullDescription": {"text": _braces(more[0] if more else title)},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "help": {
            "text": _braces(f"{text}\n\nWhat to do: {rule.remedy}{blocks}"),
            "markdown": _braces(f"{text}\n\n**What to do:** {rule.remedy}{blocks}"),
        },
        "properties": {
            "tags": [rule.family],
            "problem.severity": GITHUB_LEVELS[rule.severity],
            "blocks_resume": rule.blocks_resume,
        },
    }


def _results(report: Report, places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for finding in report.findings:
        uri, base = _uri(*location(report, finding))
        mark = _identity(finding, uri, seen)
        yield {
            "ruleId": finding.rule,
            "ruleIndex": places[finding.rule],
            # GitHub passes over suppressions and goes by the level.
            "level": LEVELS[finding.severity] if finding.accepted is None else "note",
            "message": {"text": _message(finding.message, difference(finding), _advice(finding))},
            "locations": [_location(uri, base)],
            **(_suppressions(finding) if report.accepted else {}),
            "partialFingerprints": _fingerprints(mark),
            "properties": {
                "blocks_resume": finding.blocks_resume,
                "checkpoint": _evidence(finding.checkpoint),
                "step": finding.step,
                "accepted": _evidence(finding.accepted),
                "expected": _evidence(finding.expected),
                "actual": _evidence(finding.actual),
            },
        }


def _advice(finding: Finding) -> str:
    return f"What to do: {finding.remedy}" if finding.accepted is None else advice(finding)


def _suppressions(finding: Finding) -> dict[str, Any]:
    """All results of a run have the property, or none has it (section 3.27.23); an empty list: not suppressed."""
    if finding.accepted is None:
        return {"suppressions": []}
    said = {"kind": "external", "status": ACCEPTED, "justification": printable(finding.accepted)}
    return {"suppressions": [said]}


def _identity(finding: Finding, uri: str, seen: dict[str, int]) -> str:
    """The same for the same fault tomorrow and on another machine: rule and place, and which one of several there.

    The message has no part in it: it may hold a number that another run of the audit sees a little differently.
    """
    where = f"{finding.rule}\0{uri}\0{'' if finding.step is None else finding.step}"
    seen[where] = seen.get(where, 0) + 1
    return f"{where}\0{seen[where]}"


def _invocation(report: Report, places: Mapping[str, int]) -> dict[str, Any]:
    crashes = [
        {
            **_notification(f"rule {crash.rule} crashed: {crash.reason}; please report this", "error"),
            "associatedRule": {"id": crash.rule, "index": places[crash.rule]},
        }
        for crash in report.crashed
    ]
    notes = [_notification(note, "note") for note in report.notes]
    return {"executionSuccessful": not crashes, "toolExecutionNotifications": crashes + notes}


def _notification(text: str, level: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": _message(text)}}


def _message(*lines: str) -> str:
    """Return a message of exactly these lines: ``](`` would make a link (section 3.11.6), even in plain text."""
    return _braces("\n".join(printable(line) for line in lines if line)).replace("](", "\\](")


def _braces(text: str) -> str:
    """Double the braces: single ones enclose the number of an argument (section 3.11.5 of the specification)."""
    return text.replace("{", "{{").replace("}", "}}")


def _uri(path: str, directory: bool) -> tuple[str, dict[str, str]]:
    """Return the URI of a path, and what it is relative to. Bytes that are not UTF-8 are encoded as they are."""
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that is no byte: a name from a JSON file, which no file has
        raw = printable(path).encode()
    encoded = quote(raw) + ("/" if directory and path != "/" else "")
    return (f"file://{encoded}", {}) if path.startswith("/") else (encoded, {"uriBaseId": BASE})


def _evidence(value: object) -> object:
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return str(value)  # NaN and infinities are no JSON
    return printable(value) if isinstance(value, str) else value
