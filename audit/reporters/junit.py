"""JUnit XML, as Jenkins, GitLab, CircleCI and others read it from a test run.

There is no standard; this is what ``junit-10.xsd`` of Jenkins' xUnit plugin allows, in the elements that all readers
know. A run is a suite of the rules about the run as a whole, and each of its checkpoints is a suite. A rule on a
checkpoint is a test case: it failed if a finding that is not accepted reaches ``--fail-on``, so that this page and the
exit code agree; other findings are in the output of a case that passed. Not applicable is skipped, a crashed rule is an
error.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from audit.findings import Finding, Outcome, RuleOutcome, Severity
from audit.hookspecs import PLAIN, Context, Unaudited
from audit.report import CheckpointSummary, Report
from audit.reporters.words import advice, difference, place, printable, why


class _Case(NamedTuple):
    """One test case: its element's attributes, and what became of it: pass, failure, skipped, error."""

    name: str
    suite: str
    outcome: str
    message: str = ""
    text: str = ""


class _Suite(NamedTuple):
    """``seconds`` is None if the suite has no time of its own; ``properties`` are shown beside the cases."""

    name: str
    cases: list[_Case]
    properties: Mapping[str, str]
    seconds: float | None = None
    notes: tuple[str, ...] = ()


def render(reports: Sequence[Report], context: Context = PLAIN) -> str:
    """Return the document. A run that could not be audited is a suite with one error."""
    suites = [_lost(item) for item in context.unaudited]
    for report in reports:
        suites += _suites(report, context.fail_on)
    cases = [case for suite in suites for case in suite.cases]
    seconds = sum(report.seconds for report in reports)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(f"<testsuites{_attributes(name='checkpoint-audit', **_counts(cases), time=f'{seconds:.3f}')}>")
    for suite in suites:
        lines += _element(suite)
    lines.append("</testsuites>")
    return "\n".join(lines) + "\n"


def _lost(item: Unaudited) -> _Suite:
    return _Suite(
        item.path, [_Case("audit", item.path, "error", "the run could not be audited", printable(why(item)))], {}
    )


def _suites(report: Report, fail_on: Severity | None) -> Iterator[_Suite]:
    found = _by_outcome(report)
    names: dict[str | None, str] = {None: report.path}
    names.update({item.name: f"{report.path.rstrip('/')}/{item.name}" for item in report.checkpoints})
    cases: dict[str | None, list[_Case]] = {name: [] for name in names}
    for (rule, checkpoint), (outcome, findings) in found.items():
        home = checkpoint if checkpoint in names else None
        cases[home].append(_case(rule, names[home], outcome, findings, fail_on))
    about = {"verdict": report.verdict, "resume_from": report.resume_from or "", "depth": report.depth}
    yield _Suite(report.path, cases[None], about, report.seconds, report.notes)
    for item in report.checkpoints:
        yield _Suite(names[item.name], cases[item.name], _about(item))


def _about(item: CheckpointSummary) -> dict[str, str]:
    told = {"resumable": item.resumable, "judged": item.judged, "by_structure": item.by_structure}
    return {name: str(value).lower() for name, value in told.items()}


def _by_outcome(report: Report) -> dict[tuple[str, str | None], tuple[RuleOutcome, list[Finding]]]:
    """Put each finding to the outcome that it belongs to, by rule and checkpoint.

    A rule about the run may name a checkpoint: its finding belongs to the one outcome of that rule. A finding without
    an outcome becomes one: it must not be lost.
    """
    found: dict[tuple[str, str | None], tuple[RuleOutcome, list[Finding]]] = {
        (item.rule, item.checkpoint): (item, []) for item in report.outcomes
    }
    for finding in report.findings:
        keys = ((finding.rule, finding.checkpoint), (finding.rule, None))
        key = next((key for key in keys if key in found), keys[0])
        found.setdefault(key, (RuleOutcome(*key, Outcome.FAIL), []))[1].append(finding)
    return found


def _case(rule: str, suite: str, outcome: RuleOutcome, findings: list[Finding], fail_on: Severity | None) -> _Case:
    if outcome.outcome is Outcome.ERROR:
        return _Case(rule, suite, "error", f"the rule crashed: {outcome.reason}", "please report this")
    if outcome.outcome is Outcome.NOT_APPLICABLE and not findings:
        return _Case(rule, suite, "skipped", outcome.reason or "not applicable")
    counting = [finding for finding in findings if finding.accepted is None]
    failed = any(fail_on is not None and finding.severity.rank >= fail_on.rank for finding in counting)
    text = "\n\n".join(_said(finding) for finding in findings)
    return _Case(rule, suite, "failure" if failed else "pass", findings[0].message if findings else "", text)


def _said(finding: Finding) -> str:
    lines = [
        f"{finding.word}  {place(finding)}",
        finding.message,
        difference(finding),
        f"-> {advice(finding)}",
        "blocks resuming" if finding.blocks_resume else "",
    ]
    return "\n".join(printable(line) for line in lines if line)


def _element(suite: _Suite) -> Iterator[str]:
    time = {} if suite.seconds is None else {"time": f"{suite.seconds:.3f}"}
    skipped = str(sum(case.outcome == "skipped" for case in suite.cases))
    yield f"  <testsuite{_attributes(name=suite.name, **_counts(suite.cases), skipped=skipped, **time)}>"
    if suite.properties:
        yield "    <properties>"
        for name, value in suite.properties.items():
            yield f"      <property{_attributes(name=name, value=value)}/>"
        yield "    </properties>"
    for case in suite.cases:
        yield from _test(case)
    if suite.notes:
        notes = "\n".join(printable(note) for note in suite.notes)
        yield f"    <system-out>{_text(notes)}</system-out>"
    yield "  </testsuite>"


def _test(case: _Case) -> Iterator[str]:
    # Jenkins takes what is before the last dot of the class for the package, so checkpoints are grouped by run.
    start = f"    <testcase{_attributes(classname=case.suite.strip('./').replace('/', '.'), name=case.name)}"
    if case.outcome == "pass" and not case.text:
        yield f"{start}/>"
        return
    yield f"{start}>"
    if case.outcome == "pass":
        yield f"      <system-out>{_text(case.text)}</system-out>"
    else:
        type_ = "" if case.outcome == "skipped" else case.name
        attributes = _attributes(message=case.message, **({"type": type_} if type_ else {}))
        body = f">{_text(case.text)}</{case.outcome}>" if case.text else "/>"
        yield f"      <{case.outcome}{attributes}{body}"
    yield "    </testcase>"


def _counts(cases: Sequence[_Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome == "failure" for case in cases)),
        "errors": str(sum(case.outcome == "error" for case in cases)),
    }


def _attributes(**values: str) -> str:
    return "".join(f' {name}="{escape(printable(value))}"' for name, value in values.items())


def _text(text: str) -> str:
    """Return character data. XML 1.0 has no words for most control characters; none of the run's is left here."""
    return escape("\n".join(printable(line) for line in text.split("\n")), quote=False)
