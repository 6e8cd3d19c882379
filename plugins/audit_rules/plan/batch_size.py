"""plan/batch-size."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Keep per_device_train_batch_size x gradient_accumulation_steps x processes as it was, unless the change is "
    "intended: steps and epochs then stand for other amounts of data.",
    explained_by=("plan/world-size",),
)
def batch_size(plan: Plan, examples_per_step: int, resume: Checkpoint) -> Iterator[Violation]:
    """The number of examples in a step would change.

    A checkpoint counts only steps: the position in the data and in the schedule is derived from them. In Trainer 4.x
    and 5.0 the batch size of the checkpoint silently takes precedence over the argument; since 5.4 the argument does,
    while ``train_batch_size`` in the trainer state keeps the old value. `audit train` counts examples, not steps, so no
    example is lost; but the noise of the gradient changes, and with it the effect of a learning rate.

    The effective batch is compared: per device, times accumulation, times processes. A smaller batch with more
    accumulation is the same.
    """
    before = _effective(resume.arguments)
    if before is None:
        raise NotApplicable(f"the training arguments of {resume.name} do not say how many examples a step took")
    if before != examples_per_step:
        yield Violation(
            f"A step will take {examples_per_step} examples, but those of {resume.name} took {before}",
            expected=before,
            actual=examples_per_step,
        )


def _effective(arguments: Mapping[str, Any]) -> int | None:
    parts = [
        arguments.get("per_device_train_batch_size"),
        arguments.get("gradient_accumulation_steps", 1),
        arguments.get("num_processes") or 1,
        max(1, arguments.get("_n_gpu") or 1) if isinstance(arguments.get("_n_gpu", 1), int) else None,
    ]
    if any(not isinstance(part, int) or isinstance(part, bool) or part < 1 for part in parts):
        return None
    return parts[0] * parts[1] * parts[2] * parts[3]  # type: ignore[no-any-return]
