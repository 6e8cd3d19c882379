"""history/invalid-value."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, Severity, Violation, rule, shortened
from audit_rules._entries import step_of
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import History

_NUMBERS = frozenset({int, float})
_OWN = frozenset({"loss", "learning_rate", "grad_norm", "epoch", "num_tokens", "num_input_tokens_seen", "total_flos"})
_OWN_PREFIXES = ("eval_", "test_", "train_", "rewards/", "reward", "logps/", "logits/")


@rule(
    Severity.ERROR,
    remedy="Treat the history as edited from that entry on; charts and continuity checks skip the entry.",
    explained_by=("steps/invalid-state",),
)
def invalid_value(checkpoint: Checkpoint, history: "History") -> Iterator[Violation]:
    """A logged value is not a number.

    Trainer logs only floats and integers: 1.5 million of 1.5 million logged values of real runs. A string, null,
    boolean or object was written by an editor or a broken callback, and breaks dashboards and early stopping. NaN and
    Infinity are legal: Trainer writes them when a gradient overflows.

    A key that neither Trainer nor TRL writes is from a callback of the user, which may log anything: an info. A bad
    value is reported for the first checkpoint that has it.
    """
    own: list[tuple[Any, str, Any]] = []
    foreign: list[tuple[Any, str, Any]] = []
    for entry in history.fresh:
        if _NUMBERS.issuperset(map(type, entry.values())):
            continue
        for key, value in entry.items():
            if type(value) not in _NUMBERS and key != "step":
                ours = key in _OWN or key.startswith(_OWN_PREFIXES)
                (own if ours else foreign).append((step_of(entry), key, value))
    for found, severity in ((own, None), (foreign, Severity.INFO)):
        if found:
            step, key, value = found[0]
            more = and_more(found, ", nor are {} more values of the log")
            yield Violation(
                f"At step {step} the log has {_shown(value)} for {shortened(key)}, which is not a number{more}",
                file=checkpoint.backend.state_file,
                expected="a number",
                actual=_shown(value),
                severity=severity,
                step=step,
            )


def _shown(value: Any) -> str:
    if value is None or type(value) is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) in (list, dict):
        return "a list" if type(value) is list else "an object"
    return shortened(repr(value))
