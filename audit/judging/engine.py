"""Run rules over facts and give every rule an outcome on every checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, NamedTuple

from audit.backend.protocol import ITSELF
from audit.errors import AuditError, NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan
from audit.facts.run import Run
from audit.findings import Evidence, Finding, Outcome, RuleOutcome, RuleOutcomes, Severity, Violation
from audit.judging.outcomes import Applied, Outcomes, passed
from audit.rules import ANY, Rule
from audit.text import veiled

_OUTCOME = attrgetter("outcome")


class Judgement(NamedTuple):
    """Findings, most severe first, and the outcome of every rule on every checkpoint."""

    findings: tuple[Finding, ...]
    outcomes: RuleOutcomes


class _Found:
    """The findings so far, and by checkpoint; ``fired``: the highest rank of each rule's, by checkpoint."""

    def __init__(self) -> None:
        self.all: list[Finding] = []
        self.places: dict[str | None, list[int]] = {}
        self.fired: dict[str, dict[str | None, int]] = {}

    def add(self, finding: Finding, rank: int) -> None:
        """Add a finding of a violation of this rank."""
        self.places.setdefault(finding.checkpoint, []).append(len(self.all))
        self.all.append(finding)
        ranks = self.fired.setdefault(finding.rule, {})
        ranks[finding.checkpoint] = max(ranks.get(finding.checkpoint, 0), rank)

    def block(self, cause: str, checkpoint: str | None) -> None:
        """Have the finding of a cause block resuming, in place of one that is left out."""
        for place in self.places.get(checkpoint, ()) if checkpoint is not None else ():
            if self.all[place].rule == cause:
                self.all[place] = self.all[place]._replace(blocks_resume=True)
                return


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
    found = _Found()
    ordered = _causes_first(rules)
    applied = _apply_all(ordered, run, options or {}, known)
    names = [] if isinstance(run, Plan) else [checkpoint.name for checkpoint in run.judged]
    for rule in ordered:
        severity = (severities or {}).get(rule.id)
        said = applied[rule.id]
        for place in [place for place, item in enumerate(said) if item.violations]:
            violations = said[place].violations
            name = None if _is_whole(rule, run) else names[place]
            kept = [item for item in violations if not _explained(rule, item, item.checkpoint or name, found)]
            if not kept:
                causes = ", ".join(cause for cause in rule.explained_by if cause in found.fired) or "another finding"
                said[place] = Applied((), _not_applicable(rule.id, f"explained by {causes}"))
            for item in kept:
                finding = _finding(rule, item, name, severity)
                if isinstance(run, Plan) and finding.file is None:
                    finding = finding._replace(file=run.file)
                found.add(finding, (item.severity or rule.severity).rank)
    return Judgement(in_order(found.all, run), _outcomes(ordered, run, applied))


def in_order(findings: Iterable[Finding], run: Run | Plan) -> tuple[Finding, ...]:
    """Return findings as they are reported: the most severe first, then by step."""
    steps = {} if isinstance(run, Plan) else {checkpoint.name: checkpoint.step for checkpoint in run.checkpoints}
    return tuple(
        sorted(findings, key=lambda item: (-item.severity.rank, steps.get(item.checkpoint or "", -1), item.rule))
    )


def _outcomes(rules: Sequence[Rule], run: Run | Plan, applied: Mapping[str, Sequence[Applied]]) -> RuleOutcomes:
    """The outcomes of the run, then those of each checkpoint; judged checkpoints are sorted by step."""
    by_id = sorted(rules, key=lambda rule: rule.id)
    over_run = [rule.id for rule in by_id if applied[rule.id] and _is_whole(rule, run)]
    over_each = [rule.id for rule in by_id if not _is_whole(rule, run)]
    rows = [(None, tuple(applied[rule][0].outcome for rule in over_run))]
    names = () if isinstance(run, Plan) else tuple(checkpoint.name for checkpoint in run.judged)
    each = zip(*(applied[rule] for rule in over_each), strict=True) if over_each else repeat(())
    return RuleOutcomes(
        chain(rows, ((name, tuple(map(_OUTCOME, said))) for name, said in zip(names, each, strict=False)))
    )


def _apply_all(
    rules: Sequence[Rule], run: Run | Plan, options: Mapping[str, Mapping[str, Any]], known: Outcomes | None
) -> dict[str, list[Applied]]:
    """Apply every rule to its targets, by rule: checkpoint by checkpoint, so that each one's files are parsed once.

    What was parsed of a checkpoint is dropped when the next one was judged, which may compare itself with it. Rules
    over the run, and those that compare a checkpoint with all others, come last: they ask for conclusions only.
    """
    found: dict[str, list[Applied]] = {rule.id: [] for rule in rules}
    near = [(rule, options.get(rule.id, {}), found[rule.id]) for rule in rules if _is_near(rule)]
    if isinstance(run, Run):
        before: Checkpoint | None = None
        for checkpoint in run.judged:
            held = known.holding(checkpoint) if known is not None else {}
            for rule, thresholds, said in near:
                said.append(held.get(rule.id) or _one(rule, checkpoint, thresholds, known))
            if before is not None:
                before.forget()
            before = checkpoint
    for rule in rules:
        if not isinstance(run, Run) or not _is_near(rule):
            thresholds = options.get(rule.id, {})
            for target in _targets(rule, run):
                still = known.of(rule, target) if known is not None and isinstance(target, Checkpoint) else None
                found[rule.id].append(still or _one(rule, target, thresholds, known))
    return found


def _is_near(rule: Rule) -> bool:
    """Whether the rule looks at a checkpoint and its neighbours only."""
    return rule.scope == "checkpoint" and not rule.compares_all


def _one(rule: Rule, target: Run | Checkpoint | Plan, options: Mapping[str, Any], known: Outcomes | None) -> Applied:
    """Apply a rule, and have what it looks at noted."""
    if known is None or not isinstance(target, Checkpoint) or target.watch is None:
        return _apply(rule, target, options)
    seen = target.watch.seen = set()
    try:
        applied = _apply(rule, target, options)
    finally:
        target.watch.seen = None
    known.note(rule, target, applied, seen)
    return applied


def _is_whole(rule: Rule, run: Run | Plan) -> bool:
    """Whether the rule is applied to the run or plan as a whole."""
    return isinstance(run, Plan) or rule.scope in ("run", "plan")


def _targets(rule: Rule, run: Run | Plan) -> Iterable[Run | Checkpoint | Plan]:
    if isinstance(run, Plan) or rule.scope == "plan":
        return [run] if isinstance(run, Plan) and rule.scope == "plan" else []
    return [run] if rule.scope == "run" else run.judged


@lru_cache(maxsize=4096)
def _not_applicable(rule: str, reason: str) -> RuleOutcome:
    return RuleOutcome(rule, None, Outcome.NOT_APPLICABLE, reason)


def _apply(rule: Rule, target: Run | Checkpoint | Plan, options: Mapping[str, Any]) -> Applied:
    violations: list[Violation] = []
    try:
        facts = [getattr(target, need) for need in rule.needs]
        for violation in rule.function(target, *facts, **options):
            violations.append(violation)  # noqa: PERF402  what was found before a crash or a missing fact is kept
    except NotApplicable as missing:
        if not violations:
            return Applied((), _not_applicable(rule.id, str(missing)))
    except AuditError:
        raise
    except Exception as error:  # the rule's fault, not the run's: the other rules still run
        return Applied(
            (), RuleOutcome(rule.id, None, Outcome.ERROR, f"{type(error).__name__}: {error} {_where(error)}")
        )
    if not violations:
        return passed(rule.id)
    return Applied(tuple(violations), RuleOutcome(rule.id, None, Outcome.FAIL))


def _where(error: BaseException) -> str:
    """The innermost line of a crash, for the message that the user sends to us."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})"


def _explained(rule: Rule, item: Violation, checkpoint: str | None, found: _Found) -> bool:
    if ANY in rule.explained_by and checkpoint is not None and _said_better(rule, item, checkpoint, found):
        return True
    rank = (item.severity or rule.severity).rank
    for cause in rule.explained_by:
        ranks = found.fired.get(cause, {})
        for place in dict.fromkeys((checkpoint, None)):
            severest = ranks.get(place)
            # An info explains whatever it names: a checkpoint that is being written or deleted is no error at all.
            if severest is not None and (severest >= rank or severest == Severity.INFO.rank):
                if severest and _blocks(rule, item):
                    found.block(cause, place)
                return True
    return False


def _blocks(rule: Rule, item: Violation) -> bool:
    return rule.blocks_resume if item.blocks_resume is None else item.blocks_resume


def _said_better(rule: Rule, item: Violation, checkpoint: str, found: _Found) -> bool:
    """Whether another rule says what is wrong: anything that blocks this checkpoint, or names the same file.

    What is left out here still counts: the finding that stands for it then blocks resuming, too.
    """
    findings = found.all
    others = [
        place
        for place in found.places.get(checkpoint, ())
        if findings[place].rule != rule.id and findings[place].severity is not Severity.INFO
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
        item.file if item.file != ITSELF else None,  # a checkpoint that is one file is named already
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
