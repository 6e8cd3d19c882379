"""What a rehearsal is reported as: a value, lines for people, a document for programs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from audit.backend.rehearsal import Compared, Rehearsal
from audit.rehearsal.comparison import TOLERANCES, Judgement
from audit.rehearsal.expected import Logged

SHOWN = 6
"""Differences that are shown to people; what follows on the first ones is their consequence."""


class RehearsalReport(NamedTuple):
    """A rehearsal of ``checkpoint``, a path as the user would write it, of ``step``.

    ``exact``: compared bit for bit; ``inexact``: why not, None if so. ``logged`` is what the log of the checkpoint
    ``log`` says of the steps. ``unjudged``: why the steps after it were not judged, None if some were; ``lacking``:
    that is not as it should be. ``notes``: what else should be known. ``asked``: how many steps the user has asked for,
    None if that was left to the program.
    """

    checkpoint: str
    step: int
    exact: bool
    inexact: str | None
    rehearsal: Rehearsal
    logged: tuple[Logged, ...]
    log: str | None
    judgement: Judgement
    unjudged: str | None = None
    lacking: bool = False
    notes: tuple[str, ...] = ()
    asked: int | None = None

    @property
    def same(self) -> bool:
        """Whether all that was compared is the same."""
        return self.judgement.same

    @property
    def exit_code(self) -> int:
        """0 same, 1 differs, 2 what should have been judged could not be, or nothing was compared."""
        return 1 if not self.same else 2 if self.lacking or not self.compared else 0

    @property
    def compared(self) -> bool:
        """Whether anything was compared: a part of what was restored, or a step."""
        return bool(self.judgement.judged) or any(part.values for part in self.rehearsal.restored)

    @property
    def first_difference(self) -> str:
        """The first difference in one line, empty if there is none."""
        return next(iter(_differences(self)), "")

    def __bool__(self) -> bool:
        """``assert report``: all that was to be compared was, and is the same."""
        return self.exit_code == 0

    def __str__(self) -> str:
        """All lines: ``assert report, str(report)``."""
        return "\n".join(lines(self))

    def __repr__(self) -> str:
        """One line: what a failed assertion shows by itself."""
        why = f": {self.first_difference}; likely cause: {self.judgement.cause}" if not self.same else ""
        return f"<RehearsalReport of {self.checkpoint}: {_verdict(self)}{why}>"


def lines(report: RehearsalReport, quiet: bool = False) -> Iterator[str]:
    """Yield the report for people; ``quiet``: the result and what is wrong."""
    if not quiet:
        yield f"{report.checkpoint}: {_how(report)}"
        yield from _parts("restored", report.rehearsal.restored)
        yield from _steps(report)
        for arrival in report.rehearsal.arrivals if report.exact else ():
            yield from _parts(f"after step {arrival.step}", arrival.parts)
        for note in report.notes:
            yield f"note: {note}"
    wrong = list(_differences(report))
    yield from wrong[:SHOWN]
    if len(wrong) > SHOWN:
        yield f"and {len(wrong) - SHOWN} more"
    if report.judgement.cause is not None:
        yield f"likely cause: {report.judgement.cause}"
    if report.unjudged is not None and (report.lacking or not quiet):
        yield f"not judged: the steps after step {report.step}: {report.unjudged}"
    yield f"{report.checkpoint}: {_verdict(report)}"


def _how(report: RehearsalReport) -> str:
    steps = len(report.rehearsal.steps)
    trained = f" and {steps} step{'s' * (steps != 1)} trained again" if steps else ""
    if report.inexact is None:
        return f"restored{trained}, compared bit for bit"
    limits = TOLERANCES.get(report.rehearsal.dtype, {})
    words = ", ".join(f"{name} {limit:g}" for name, limit in limits.items())
    within = f", steps within tolerances ({report.rehearsal.dtype}: {words}), because {report.inexact}" if steps else ""
    return f"restored{trained}{within}"


def _parts(place: str, parts: Sequence[Compared]) -> Iterator[str]:
    """Say in one line what is as saved, and of everything else what is wrong or why it was not compared."""
    right = [f"{part.part} ({part.values})" for part in parts if part.values and not part.different]
    if right:
        yield f"  {place}: {', '.join(right)}: as in the files of the checkpoint"
    for part in parts:
        if part.missed:
            yield f"  {place}: {part.part}: {'not all' if part.values else 'not'} compared: {part.missed}"


def _steps(report: RehearsalReport) -> Iterator[str]:
    steps = report.rehearsal.steps
    if not steps or not report.judgement.judged:
        return
    wrong = {item.quantity for item in report.judgement.differences if item.step is not None}
    right = [name for name in report.judgement.judged if name not in wrong]
    largest = report.judgement.largest
    shown = [f"{name} (differs by {largest[name]:.1g} at most)" if name in largest else name for name in right]
    if shown:
        source = f"the log of {report.log}" if report.log else "the log"
        ledger = " and the ledger" if "examples" in right else ""
        yield f"  steps {steps[0].step} to {steps[-1].step}: {', '.join(shown)}: as in {source}{ledger}"


def _differences(report: RehearsalReport) -> Iterator[str]:
    for item in report.judgement.differences:
        place = f"step {item.step}" if item.step is not None else "restored"
        gap = f" (relative difference {item.relative:.2g})" if item.relative is not None else ""
        yield f"{place}: {item.quantity}: {item.found}, expected {item.expected}{gap}"


def _verdict(report: RehearsalReport) -> str:
    if not report.same:
        return "differs"
    if not report.compared:
        return "nothing was compared"
    if report.lacking or not report.judgement.judged:
        all_of_it = not any(part.missed for part in report.rehearsal.restored)
        restored = f"restored as saved{'' if all_of_it else ', as far as it was compared'}"
        return f"{restored}; {'the steps could not be judged' if report.lacking else 'no step was judged'}"
    within = "" if report.exact else ", within tolerances" if report.judgement.largest else ", bit for bit"
    return f"same in {_compared(report)}{within}"


def _compared(report: RehearsalReport) -> str:
    """Say how many steps were compared, and how many should have been."""
    steps, asked = report.judgement.steps, report.asked or 0
    return f"{steps} of the {asked} steps asked for" if steps < asked else f"{steps} step{'s' * (steps != 1)}"


def document(report: RehearsalReport) -> Mapping[str, Any]:
    """Return the report for programs; audit/schemas/rehearse-1.json describes it."""
    found, known = report.rehearsal, {item.step: item for item in report.logged}
    return {
        "checkpoint": report.checkpoint,
        "step": report.step,
        "same": report.same,
        "exact": report.exact,
        "inexact_because": report.inexact,
        "dtype": found.dtype,
        "device": found.device,
        "tolerances": {} if report.exact else dict(TOLERANCES.get(found.dtype, {})),
        "restored": [part._asdict() for part in found.restored],
        "steps": [
            {
                "step": item.step,
                "expected": _values(known.get(item.step)),
                "found": _values(item),
                "loss_judged": bool(item.step in known and known[item.step].whole),
            }
            for item in found.steps
        ],
        "arrivals": [{"step": item.step, "parts": [part._asdict() for part in item.parts]} for item in found.arrivals],
        "log": report.log,
        "steps_asked": report.asked,
        "steps_compared": report.judgement.steps,
        "judged": list(report.judgement.judged),
        "differences": [item._asdict() for item in report.judgement.differences],
        "likely_cause": report.judgement.cause,
        "not_judged_because": report.unjudged,
        "notes": list(report.notes),
        "restore_seconds": found.restore_seconds,
        "seconds": found.seconds,
    }


def _values(item: Any) -> Mapping[str, Any] | None:
    if item is None:
        return None
    examples = None if item.examples is None else list(item.examples)
    return {
        "loss": item.loss,
        "grad_norm": item.grad_norm,
        "learning_rate": item.learning_rate,
        "examples": examples,
    }
