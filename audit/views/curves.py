"""What a page shows of one run: its curves, where it was resumed, its checkpoints, each finding's place on the axis.

Values only: how they look is for whoever renders them (``audit_pages`` in :mod:`audit.hookspecs`).
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from audit.facts.run import Run
from audit.facts.series import Point, series
from audit.findings import Finding
from audit.judging.standing import SEALED, rehearsed, standing
from audit.page import Curve, Leg, Mark, Placed, RunCurves
from audit.report import RESUMABLE, Report
from audit.views.summary import overview

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.formats.history import History

MOST_KEYS = 24
"""Curves of one history: a TRL run logs about twenty; a file may hold any number of keys."""
MOST_OTHERS = 8
"""Curves of one key that were given up or belong to another history."""
LAST_STEP = (1 << 53) - 1
"""Larger steps are no steps of any training, and no program that draws them could count them."""

FIRST = ("loss", "eval_loss", "learning_rate", "grad_norm")
NO_CURVE = frozenset(
    {"step", "epoch", "total_flos", "train_loss", "train_runtime", "num_input_tokens_seen", "num_tokens"}
)
TIMINGS = ("_runtime", "_per_second")
KEY_OF_FAMILY = {"loss": "loss", "learning-rate": "learning_rate"}


def curves_of(run: Run, report: Report) -> RunCurves:
    """Collect what a page shows of a run that was judged; files that cannot be read leave gaps, never an error."""
    main, others = _histories(run, report)
    history = main[-1].optional("history") if main else None  # a trainer may write no log
    curves, left_out = _curves(history) if history is not None else ((), 0)
    past = [curve for lineage in others[:MOST_OTHERS] for curve in _curves(lineage[-1].history, FIRST)[0]]
    marks = tuple(_mark(item, report) for item in run.judged)
    steps = {item.name: item.step for item in run.checkpoints}
    state = main[-1].optional("state") if main else None
    ends = [curve.points[-1].step for curve in curves] + [step for step in steps.values() if step <= LAST_STEP]
    last = max(ends, default=0)
    return RunCurves(
        report,
        (*curves, *(curve._replace(current=False) for curve in past)),
        tuple(_legs(_seams(run, main), curves, last)),
        marks,
        tuple(_placed(finding, steps) for finding in report.findings),
        last,
        state.max_steps if state is not None else None,
        len(history) if history is not None else 0,
        left_out,
    )


def _histories(run: Run, report: Report) -> "tuple[tuple[Checkpoint, ...], list[tuple[Checkpoint, ...]]]":
    """The lineage that the run stands on, and the others, youngest first."""
    wanted = {report.resume_from} if report.resume_from else {item.name for item in run.judged}
    youngest = run.lineages[::-1]
    ordered = sorted(youngest, key=lambda lineage: not any(item.name in wanted for item in lineage))
    return (ordered[0], ordered[1:]) if ordered else ((), [])


def _curves(history: "History", keys: Sequence[str] = ()) -> tuple[tuple[Curve, ...], int]:
    """The curves of a history, those that matter most first, and how many keys were left out."""
    wanted = [key for key in history.keys if key not in NO_CURVE and not key.endswith(TIMINGS)]
    ordered = sorted((key for key in wanted if not keys or key in keys), key=_rank)
    found: list[Curve] = []
    for key in ordered[:MOST_KEYS]:
        found += split(key, series(history, key))
    return tuple(found), 0 if keys else max(0, len(ordered) - MOST_KEYS)


def _rank(key: str) -> tuple[int, bool, str]:
    return FIRST.index(key) if key in FIRST else len(FIRST), not key.startswith("eval_"), key


def split(key: str, points: Sequence[Point]) -> Iterator[Curve]:
    """Yield one curve that goes forward, and those pieces of the log that a step back gave up.

    Where a step was logged twice, the later number counts.
    """
    current: list[Point] = []
    given_up: list[list[Point]] = []
    for point in points:
        if not 0 <= point.step <= LAST_STEP:
            continue
        if current and point.step < current[-1].step:
            piece = []
            while current and current[-1].step >= point.step:
                piece.append(current.pop())
            given_up.append(piece[::-1])
        elif current and point.step == current[-1].step:
            current.pop()
        current.append(point)
    if current:
        yield Curve(key, tuple(current))
    for piece in sorted(given_up, key=len, reverse=True)[:MOST_OTHERS]:
        yield Curve(key, tuple(piece), current=False)


class _Seam(NamedTuple):
    """The last step before a leg, what shows it, and the data of that leg."""

    step: int
    reason: str
    file: str | None


def _seams(run: Run, main: "tuple[Checkpoint, ...]") -> list[_Seam]:
    """Where training was resumed: as the ledger tells it, and before its first word as the files show it."""
    told = {leg.first_step: leg.file for leg in run.records.batches.legs}
    found = run.optional("boundaries")  # not there without a log
    shown = found[run.lineages.index(main)] if main and found else ()
    seams = [_Seam(item.step, item.reason, None) for item in shown if not told or item.step < min(told)]
    return seams + [_Seam(step, "recorded in the ledger", file) for step, file in sorted(told.items())]


def _legs(seams: Sequence[_Seam], curves: Sequence[Curve], last: int) -> Iterator[Leg]:
    losses = next((curve.points for curve in curves if curve.key == "loss" and curve.current), ())
    finite = [point for point in losses if isfinite(point.value)]
    known = [seam for seam in seams if 0 < seam.step < last]
    begin = next((seam.file for seam in seams if seam.step == 0), None)
    files = [begin, *(seam.file for seam in known)]
    reasons = [None, *(seam.reason for seam in known)]
    ends = [*(seam.step for seam in known), last]
    first, place = 0, 0
    for end, reason, file in zip(ends, reasons, files, strict=True):
        start = place
        while place < len(finite) and finite[place].step <= end:
            place += 1
        inside = finite[start:place]
        begun, ended = (inside[0].value, inside[-1].value) if inside else (None, None)
        yield Leg(first + 1, end, reason, begun, ended, file)
        first = end


def _mark(checkpoint: "Checkpoint", report: Report) -> Mark:
    line = overview(checkpoint)
    found = standing(checkpoint, report)
    sealed = found.state == SEALED
    return Mark(
        checkpoint.name,
        checkpoint.step,
        RESUMABLE if sealed else found.state,
        found.reason,
        sealed,
        checkpoint.name == report.resume_from,
        line.remark == "best",
        line.epoch if isinstance(line.epoch, int | float) else None,
        line.loss,
        line.learning_rate,
        line.files,
        line.bytes,
        line.saved and line.saved.replace("T", " ").rstrip("Z"),
        rehearsed(checkpoint, found),
        found.by_structure,
    )


def _placed(finding: Finding, steps: dict[str, int]) -> Placed:
    step = finding.step if finding.step is not None else steps.get(finding.checkpoint or "")
    if step is not None and step > LAST_STEP:
        step = None
    return Placed(finding, step, KEY_OF_FAMILY.get(finding.rule.partition("/")[0]))
