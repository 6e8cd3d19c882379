"""loss/vanished."""

from collections.abc import Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule, tail
from audit_rules._entries import step_of
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import History


@rule(
    Severity.WARNING,
    remedy="Look at the weights (weights/not-finite) and go back to a checkpoint before that step.",
)
def vanished(checkpoint: Checkpoint, history: "History") -> Iterator[Violation]:
    """The loss is exactly 0 with a gradient norm of NaN: the weights are lost, and training continues.

    Trainer 5.23 with ``logging_nan_inf_filter`` (the default) replaces a NaN loss by the running mean, which is 0 once
    all are NaN; training then ends with exit code 0. One NaN in weights or moments is enough.

    A loss of 0 with a finite gradient norm is ordinary in reinforcement learning and is not reported, nor is a NaN norm
    with a finite loss (an fp16 step that the scaler skipped). Reported for the first checkpoint that shows it.
    """
    if not any("loss" in entry for entry in history.fresh):
        raise NotApplicable("no training loss was logged since the previous checkpoint")
    dead = [entry for entry in history.fresh if _dead(entry)]
    if not dead:
        return
    if history.base is not None and dead[0] is next(entry for entry in history.fresh if "loss" in entry):
        loss, norm = tail(history.base, "loss", 1), tail(history.base, "grad_norm", 1)
        if loss and norm and loss[0].value == 0 and isnan(norm[0].value):
            raise NotApplicable("the loss had vanished before, which is reported for an earlier checkpoint")
    more = and_more(dead, ", and at {} more logged steps")
    yield Violation(
        f"The loss is exactly 0 with a gradient norm of NaN at step {step_of(dead[0])}{more}: "
        "the true losses are NaN and were filtered out of the log",
        file=checkpoint.backend.state_file,
        expected="a loss above 0",
        actual=0.0,
        step=step_of(dead[0]),
    )


def _dead(entry: Mapping[str, Any]) -> bool:
    norm = entry.get("grad_norm")
    return entry.get("loss") == 0 and type(norm) is float and isnan(norm)
