"""Helpers for people who write rules: run one rule on a run, see its findings or its outcome."""

from audit.api import verify
from audit.findings import Finding, RuleOutcome
from audit.manager import Registry, load
from audit.options import Options
from audit.report import Report


def registry() -> Registry:
    """Return the registry with everything that is installed."""
    return load()


def report(run: str, *select: str, depth: str = "full", **options: object) -> Report:
    """Verify a run with these rules or families only (none: all)."""
    return verify(run, Options(select=select, depth=depth, **options), registry=registry())  # type: ignore[arg-type]


def check(run: str, rule: str, **options: object) -> list[Finding]:
    """Return the findings of one rule on a run. Raises AssertionError if the rule crashed."""
    judged = report(run, rule, **options)  # type: ignore[arg-type]
    assert not judged.crashed, judged.crashed
    return [finding for finding in judged.findings if finding.rule == rule]


def outcome(run: str, rule: str, checkpoint: str | None = None, **options: object) -> RuleOutcome:
    """Return the outcome of one rule on one checkpoint, or on the run."""
    judged = report(run, rule, **options)  # type: ignore[arg-type]
    return next(item for item in judged.outcomes if item.rule == rule and item.checkpoint == checkpoint)
