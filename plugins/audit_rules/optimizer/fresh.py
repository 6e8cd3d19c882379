"""optimizer/fresh."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._scans import was_read
from audit_rules._updates import OVERFLOWS, due, reached, updates, uses_fp16
from audit_rules.optimizer._shared import moments, parameters, place_of

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

KEEPS_STATE = ("adam", "adafactor", "8bit")


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint whose optimizer state is intact. If none is left, start a new run from these "
    "weights with a warm-up, so that the history shows what happened.",
    explained_by=(
        "steps/directory-mismatch",
        "optimizer/unchanged",
        "optimizer/parameter-mismatch",
        "deepspeed/step-mismatch",
        "deepspeed/stale-partition",
    ),
)
def fresh(checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState", global_step: int) -> Iterator[Violation]:
    """The optimizer state is that of a new optimizer, although steps were trained.

    There is no state, a count of at most one update, or all moments are zero: either a resume did not load the
    optimizer (Trainer 5.23 silently loads it only if ``scheduler.pt`` is there, too), or the file was emptied. If the
    count is kept and the moments are zero, even Adam's bias correction does not help.

    Not checked: optimizers without state (SGD, layer-wise GaLore), the first step, and the first steps of fp16, which
    the scaler may have skipped (unless the previous checkpoint has updates). Moments are checked only at full depth,
    and all together: while ``lora_B`` is zero, the moments of ``lora_A`` are zero.
    """
    done = due(checkpoint, global_step)
    before = checkpoint.optional("previous")
    if before is not None and not checkpoint.backend.state_file:  # the step may be the optimizer's own count
        done = max(done, due(before, reached(before)))
    if done <= 1:
        raise NotApplicable("one step leaves no more state than this")
    if not parameters(optimizer):
        raise NotApplicable("the optimizer trains no parameter")
    previous = checkpoint.optional("previous")
    begun = previous is not None and bool(updates(previous))
    skipped = done <= OVERFLOWS and uses_fp16(checkpoint) and not begun
    if skipped and not optimizer.highest_step:
        raise NotApplicable("the fp16 gradient scaler may have skipped every update so far")
    if not optimizer.state:
        if optimizer.kind not in KEEPS_STATE:
            raise NotApplicable("this optimizer keeps no state")
        yield _violation(layout, f"has no state for any of its {len(parameters(optimizer))} parameters", done, 0)
        return
    count = optimizer.highest_step
    if count is not None and count <= 1 and not skipped:
        yield _violation(layout, f"counted {count:g} updates", done, count)
        return
    scan = checkpoint.optional("scan")
    if scan is not None and (layout.optimizer is None or was_read(scan, layout.optimizer)):
        read = moments(optimizer, layout, scan)
        kept = [item for item in read if item.key in ("exp_avg", "exp_avg_sq", "momentum_buffer")]
        if kept and all(item.scan.all_zero for item in kept):
            yield _violation(layout, f"has {len(kept)} moments, all of them zero,", done, 0)


def _violation(layout: Layout, what: str, done: int, actual: float) -> Violation:
    return Violation(
        f"{place_of(layout)} {what} after {done} steps: the optimizer state was lost",
        file=place_of(layout),
        expected=done,
        actual=actual,
    )
