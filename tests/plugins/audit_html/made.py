"""Values that a page is made of, without any file: large ones, and ones that an enemy made."""

from math import exp, nan
from typing import Any

from audit.facts.series import Point
from audit.findings import Finding, Outcome, RuleOutcome, Severity
from audit.page import Curve, Leg, Mark, Placed, RunCurves
from audit.report import CheckpointSummary, Report

SCRIPT = "</script><script>window.pwned=1</script>"
IMAGE = '"><img src=x onerror="window.pwned=1">'
ODD = f"<!-- {SCRIPT}{IMAGE}' onfocus='window.pwned=1' autofocus \u202egnp.\x1b[31m\udcff&amp;"
"""Ends a script, an attribute and a comment; turns the direction of reading; controls a terminal; is no UTF-8."""


def finding(number: int, text: str, severity: Severity = Severity.ERROR, step: int | None = None) -> Placed:
    made = Finding("loss/jump", severity, f"checkpoint-{number}", text, text, text, text, text, True, step)
    return Placed(made, step, "loss")


def run(
    path: str = "current_model",
    entries: int = 100,
    text: str = "trainer_state.json",
    keys: tuple[str, ...] = ("loss", "learning_rate", "grad_norm"),
    findings: int = 1,
    **changes: Any,
) -> RunCurves:
    """A run with ``entries`` log entries, a spike and a NaN, and ``text`` wherever the files have a say."""
    points = [Point(step, 1 + 3 * exp(-4 * step / entries) * (1 + step % 7 / 50)) for step in range(1, entries + 1)]
    points[entries // 3] = Point(entries // 3 + 1, 97.5)
    points[entries // 2] = Point(entries // 2 + 1, nan)
    placed = tuple(finding(entries // 2, text, step=entries // 2 + 1) for _ in range(findings))
    half = entries // 2
    report = Report(
        path=path,
        backend="hf-trainer",
        latest_step=entries,
        save_total_limit=None,
        resume_from=f"checkpoint-{half}",
        checkpoints=(
            CheckpointSummary(f"checkpoint-{half}", half, True, True, 8, 1000),
            CheckpointSummary(f"checkpoint-{entries}", entries, False, False, 8, 1000),
        ),
        findings=tuple(item.finding for item in placed),
        outcomes=(RuleOutcome("loss/jump", None, Outcome.FAIL), RuleOutcome(f"x/{text}", None, Outcome.ERROR, text)),
        depth="full",
        bytes_read=1000,
        seconds=0.1,
        notes=(text,),
    )
    marks = (
        Mark(f"checkpoint-{half}", half, "resumable", "", True, True, True, 1.0, 1.5, 1e-4, 8, 1000, None),
        Mark(f"checkpoint-{entries}", entries, "broken", text, False, False, False, 2.0, 1.2, 1e-4, 8, 1000, None),
    )
    made = RunCurves(
        report,
        tuple(Curve(key, tuple(points)) for key in keys),
        (Leg(1, half, None, 4.0, 2.0, text), Leg(half + 1, entries, text, 2.0, 1.0, text)),
        marks,
        placed,
        entries,
        entries,
        entries,
    )
    return made._replace(**changes)
