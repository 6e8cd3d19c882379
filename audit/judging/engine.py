"""Run rules over facts and give every rule an outcome on every checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from audit.errors import AuditError, NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan
from audit.facts.run import Run
from audit.findings import Evidence, Finding, Outcome, RuleOutcome, Severity, Violation
from audit.judging.outcomes import Applied, Outcomes
from audit.rules import ANY, Rule
from audit.text import veiled


class Judgement(NamedTuple):
    """Findings, most severe first, and the outcome of every rule on every checkpoint."""

    findings: tuple[Finding, ...]
    outcomes: tuple[RuleOutcome, ...]


def judge(
    run: Run | Plan,
    rules: Sequence[Rule],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    severities: Mapping[str, Severity] | None = None,
    known: Outcomes | None = None,
) -> Judgement:
    """Apply ``rules`` to a run, those of the scope ``plan`` to a plan; the others are left out.

    ``options`` gives thresholds by rule id, ``severities`` overrides by rule id. A rule that crashes gets the
    outcome "error" and the others still run. A violation whose root cause another rule names on the same checkpoint
    (``explained_by``) is left out, unless it is the more severe one; if it blocks resuming, the finding of the cause
    does, too. What is ``known`` to hold still is not judged again.
    """
    fired: dict[str, dict[str | None, int]] = {}
    findings: list[Finding] = []
    outcomes: list[RuleOutcome] = []
    ordered = _causes_first(rules)
    applied = _apply_all(ordered, run, options or {}, known)
    for rule in ordered:
        severity = (severities or {}).get(rule.id)
        for target in _targets(rule, run):
            name = target.name if isinstance(target, Checkpoint) else None
            violations, outcome = applied[rule.id, name]
            kept = [item for item in violations if not _explained(rule, item, item.checkpoint or name, fired, findings)]
            if violations and not kept:
                causes = ", ".join(cause for cause in rule.explained_by if cause in fired) or "another finding"
                outcome = RuleOutcome(rule.id, name, Outcome.NOT_APPLICABLE, f"explained by {causes}")
            else:
                outcome = RuleOutcome(rule.id, name, outcome.outcome, outcome.reason)
            outcomes.append(outcome)
            for item in kept:
                finding = _finding(rule, item, name, severity)
                if isinstance(run, Plan) and finding.file is None:
                    finding = finding._replace(file=run.file)
                findings.append(finding)
                places = fired.setdefault(rule.id, {})
                places[finding.checkpoint] = max(
                    places.get(finding.checkpoint, 0), (item.severity or rule.severity).rank
                )
    steps = {} if isinstance(run, Plan) else {checkpoint.name: checkpoint.step for checkpoint in run.checkpoints}
    findings.sort(key=lambda item: (-item.severity.rank, steps.get(item.checkpoint or "", -1), item.rule))
    outcomes.sort(key=lambda item: (steps.get(item.checkpoint or "", -1), item.rule))
    return Judgement(tuple(findings), tuple(outcomes))


def _apply_all(
    rules: Sequence[Rule], run: Run | Plan, options: Mapping[str, Mapping[str, Any]], known: Outcomes | None
) -> dict[tuple[str, str | None], Applied]:
    """Apply every rule to its targets: checkpoint by checkpoint, so that each one's files are parsed once.

    What was parsed of a checkpoint is dropped when the next one was judged, which may compare itself with it. Rules
    over the run, and those that compare a checkpoint with all others, come last: they ask for conclusions only.
    """
    found: dict[tuple[str, str | None], Applied] = {}
    if isinstance(run, Run):
        near = [rule for rule in rules if rule.scope == "checkpoint" and not rule.compares_all]
        before: Checkpoint | None = None
        for checkpoint in run.judged:
            for rule in near:
                found[rule.id, checkpoint.name] = _one(rule, checkpoint, options.get(rule.id, {}), known)
            if before is not None:
                before.forget()
            before = checkpoint
    for rule in rules:
        for target in _targets(rule, run):
            name = target.name if isinstance(target, Checkpoint) else None
            if (rule.id, name) not in found:
                found[rule.id, name] = _one(rule, target, options.get(rule.id, {}), known)
    return found


def _one(rule: Rule, target: Run | Checkpoint | Plan, options: Mapping[str, Any], known: Outcomes | None) -> Applied:
    """Apply a rule unless what it said still holds; else have what it looks at noted."""
    if known is None or not isinstance(target, Checkpoint) or target.watch is None:
        return _apply(rule, target, options)
    before = known.of(rule, target)
    if before is not None:
        return before
    seen = target.watch.seen = set()
    try:
        applied = _apply(rule, target, options)
    finally:
        target.watch.seen = None
    known.note(rule, target, applied, seen)
    return applied


def _targets(rule: Rule, run: Run | Plan) -> Iterable[Run | Checkpoint | Plan]:
    if isinstance(run, Plan) or rule.scope == "plan":
        return [run] if isinstance(run, Plan) and rule.scope == "plan" else []
    return [run] if rule.scope == "run" else run.judged


def _apply(rule: Rule, target: Run | Checkpoint | Plan, options: Mapping[str, Any]) -> Applied:
    violations: list[Violation] = []
    try:
        facts = [getattr(target, need) for need in rule.needs]
        for violation in rule.function(target, *facts, **options):
            violations.append(violation)  # noqa: PERF402  what was found before a crash or a missing fact is kept
    except NotApplicable as missing:
        if not violations:
            return Applied([], RuleOutcome(rule.id, None, Outcome.NOT_APPLICABLE, str(missing)))
    except AuditError:
        raise
    except Exception as error:  # the rule's fault, not the run's: the other rules still run
        return Applied(
            [], RuleOutcome(rule.id, None, Outcome.ERROR, f"{type(error).__name__}: {error} {_where(error)}")
        )
    return Applied(violations, RuleOutcome(rule.id, None, Outcome.FAIL if violations else Outcome.PASS))


def _where(error: BaseException) -> str:
    """The innermost line of a crash, for the message that the user sends to us."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})"


def _explained(
    rule: Rule,
    item: Violation,
    checkpoint: str | None,
    fired: Mapping[str, Mapping[str | None, int]],
    findings: list[Finding],
) -> bool:
    if ANY in rule.explained_by and checkpoint is not None and _said_better(rule, item, checkpoint, findings):
        return True
    rank = (item.severity or rule.severity).rank
    for cause in rule.explained_by:
        for place, severest in fired.get(cause, {}).items():
            # An info explains whatever it names: a checkpoint that is being written or deleted is no error at all.
            if place in (checkpoint, None) and (severest >= rank or severest == Severity.INFO.rank):
                if severest and _blocks(rule, item):
                    _block(findings, cause, place)
                return True
    return False


def _blocks(rule: Rule, item: Violation) -> bool:
    return rule.blocks_resume if item.blocks_resume is None else item.blocks_resume


def _block(findings: list[Finding], cause: str, checkpoint: str | None) -> None:
    """Have the finding of a cause block resuming, in place of one that is left out."""
    for place, finding in enumerate(findings):
        if finding.rule == cause and finding.checkpoint == checkpoint and checkpoint is not None:
            findings[place] = finding._replace(blocks_resume=True)
            return


def _said_better(rule: Rule, item: Violation, checkpoint: str, findings: list[Finding]) -> bool:
    """Whether another rule says what is wrong: anything that blocks this checkpoint, or names the same file.

    What is left out here still counts: the finding that stands for it then blocks resuming, too.
    """
    others = [
        place
        for place, other in enumerate(findings)
        if other.checkpoint == checkpoint and other.rule != rule.id and other.severity is not Severity.INFO
    ]
    if any(findings[place].blocks_resume for place in others):
        return True
    same = [place for place in others if findings[place].file == item.file]
    if same and _blocks(rule, item):
        findings[same[0]] = findings[same[0]]._replace(blocks_resume=True)
    return bool(same)


def _finding(rule: Rule, item: Violation, checkpoint: str | None, override: Severity | None) -> Finding:
    return Finding(
        rule.id,
        override or item.severity or rule.severity,
        item.checkpoint or checkpoint,
        item.file,
        veiled(item.message),
        _shown(item.expected),
        _shown(item.actual),
        item.remedy or rule.remedy,
        _blocks(rule, item),
        item.step if item.step is not None and item.step >= 0 else None,  # a log may hold any integer
    )


def _shown(value: Evidence) -> Evidence:
    """Evidence of the audited file, which every format prints: without tokens and keys."""
    return veiled(value) if isinstance(value, str) else value


def _causes_first(rules: Sequence[Rule]) -> list[Rule]:
    """Order rules so that those which explain others come first. Raises AuditError for a circle."""
    by_id = {rule.id: rule for rule in rules}
    ordered: list[Rule] = []
    state: dict[str, bool] = {}

    def visit(rule: Rule) -> None:
        if state.get(rule.id) is False:
            raise AuditError(f"rule {rule.id} explains itself through explained_by")
        if rule.id in state:
            return
        state[rule.id] = False
        for cause in rule.explained_by:
            if cause in by_id:
                visit(by_id[cause])
        state[rule.id] = True
        ordered.append(rule)

    for rule in sorted(rules, key=lambda rule: ANY in rule.explained_by):
        visit(rule)
    return ordered
