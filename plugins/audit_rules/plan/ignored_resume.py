"""plan/ignored-resume."""

from collections.abc import Iterator
from typing import Any

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule

_NO = (False, None, "", "false", "no", "none", "0")


@rule(
    Severity.ERROR,
    remedy="Pass the checkpoint ({resume_from} in command.resume_argv, or AUDIT_RESUME_FROM in the environment) to "
    "resume_from_checkpoint, or start a new run in its own directory.",
)
def ignored_resume(plan: Plan, sound: Checkpoint) -> Iterator[Violation]:
    """There is a sound checkpoint, but training would start at step 0.

    ``Trainer.train()`` without ``resume_from_checkpoint`` silently starts over in the same directory; its checkpoints
    are then mixed with those of the first training, and the rotation deletes the wrong ones. ``resume_from_checkpoint``
    in the arguments is read only by the user's own program (transformers 5.23); ``overwrite_output_dir`` made the
    example scripts of 4.x ignore existing checkpoints.

    With a backend that resumes by itself, only a plan that starts at 0 is a violation. With others, only what the table
    [arguments] contains counts.
    """
    if plan.request.resume_from is None:
        yield Violation(
            f"{sound.name} can be resumed from, but the plan starts at step 0",
            expected=sound.name,
            actual="a fresh start",
        )
        return
    if plan.owned:
        return
    arguments = plan.arguments
    if "resume_from_checkpoint" not in arguments and "overwrite_output_dir" not in arguments:
        raise NotApplicable("the table [arguments] has no resume_from_checkpoint")
    key = "resume_from_checkpoint"
    if arguments.get("overwrite_output_dir") is True and not arguments.get(key):
        key = "overwrite_output_dir"
    elif key not in arguments or not _denies(arguments[key]):
        return
    value = str(arguments[key]).lower() if isinstance(arguments[key], bool) else arguments[key]
    yield Violation(
        f"{sound.name} can be resumed from, but arguments.{key} is {value or 'empty'}: training would start at step 0",
        expected=sound.name,
        actual=value,
    )


def _denies(value: Any) -> bool:
    return (value.strip().lower() if isinstance(value, str) else value) in _NO
