"""resume/unsaved-state."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules.resume._interrupted import at_end, in_legs, whole

if TYPE_CHECKING:
    from audit.plugin import TrainerState

_KNOWN = ("TrainerControl", "EarlyStoppingCallback")
"""The flags of the step at which was saved, which Trainer sets anew at each, and what has a message of its own."""

_RESTORE = "Set restore_callback_states_from_checkpoint=True."
_SHOWN = 3


@rule(
    Severity.INFO,
    remedy="Resume from a checkpoint that has nothing of the kind pending, or expect another course than that of a training "
    "which was not interrupted.",
    breaks_exactness=True,
)
def unsaved_state(checkpoint: Checkpoint, state: "TrainerState", arguments: Mapping[str, Any]) -> Iterator[Violation]:
    """The training has state that no file of a checkpoint holds, and that begins anew on a resume.

    Named are: the reference model that follows the training (``sync_ref_model`` of trl 1.16: DPO, KTO, GRPO, RLOO) and
    the teacher of SDFT and SDPO with ``teacher_model_kind="ema"``, of which a resume has the first one again;
    completions that GRPO and RLOO have generated and not trained on to the end (``steps_per_generation``,
    ``num_iterations``), which a resume generates anew; the patience of EarlyStoppingCallback and what other callbacks
    export (``ExportableState``), if ``restore_callback_states_from_checkpoint`` is not set: Trainer 5.24 writes it into
    trainer_state.json and restores it only then. Of a callback, an attribute counts that is not as the argument of its
    name, or that has none and is not empty or 0.
    Measured, but for the patience: while nothing of the kind is pending, a resume goes on bit for bit; otherwise the
    next step has another loss.

    A callback without ``ExportableState`` leaves no trace, nor does an average of weights that one keeps.
    """
    found = list(_lost(checkpoint, state, arguments))
    if found and (not at_end(state) or in_legs(checkpoint)):
        yield from found


def _lost(checkpoint: Checkpoint, state: "TrainerState", arguments: Mapping[str, Any]) -> Iterator[Violation]:
    file = checkpoint.backend.arguments_file
    every = whole(arguments, "ref_model_sync_steps")
    if arguments.get("sync_ref_model") is True and every and state.global_step >= every:
        yield Violation(
            "The reference model follows the training (sync_ref_model), and is in no file: a resume would begin with the "
            "first one again",
            file=file,
            remedy="Give the trainer the reference model of that step yourself, or train without sync_ref_model.",
        )
    every = whole(arguments, "teacher_sync_steps")
    if arguments.get("teacher_model_kind") == "ema" and every and state.global_step >= every and not _saved(checkpoint):
        yield Violation(
            "The teacher is an average of the training's weights (teacher_model_kind), and is in no file: a resume would "
            "begin with the first one again",
            file=file,
            remedy='Train with teacher_model_kind = "base" or "live" if the teacher must be that of an uninterrupted training.',
        )
    done = state.global_step * (whole(arguments, "gradient_accumulation_steps") or 1)
    cycle = whole(arguments, "steps_per_generation") * whole(arguments, "num_iterations")
    if cycle and "num_generations" in arguments and done % cycle:
        yield Violation(
            f"The completions that were generated are trained on for {cycle} batches, of which {done % cycle} are done: a "
            "resume would generate others",
            file=file,
            remedy=f"Save after a multiple of {cycle} batches, and resume from there.",
        )
    if arguments.get("restore_callback_states_from_checkpoint") is True:
        return
    waited = _patience(state.stateful_callbacks)
    if waited:
        yield Violation(
            f"EarlyStoppingCallback has waited for {waited} evaluation(s) without a better one, and a resume would begin to "
            "count anew",
            file=checkpoint.backend.state_file,
            remedy=_RESTORE,
        )
    for name in sorted(state.stateful_callbacks or {}):
        attributes = [] if name in _KNOWN else _pending(state.stateful_callbacks, name)
        if attributes:
            yield Violation(
                f"{name} has state that a resume would begin anew: {', '.join(attributes[:_SHOWN])}",
                file=checkpoint.backend.state_file,
                remedy=_RESTORE,
            )


def _saved(checkpoint: Checkpoint) -> bool:
    """Whether the teacher is an adapter, which is saved beside that of the student."""
    return any(adapter.name == "teacher" for adapter in checkpoint.layout.adapters)


def _kept(callbacks: Mapping[str, Any] | None, name: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The attributes of each callback of a class, and the arguments that it was made with."""
    kept = (callbacks or {}).get(name)
    for one in kept if isinstance(kept, list) else [kept]:
        attributes = one.get("attributes") if isinstance(one, Mapping) else None
        if isinstance(one, Mapping) and isinstance(attributes, Mapping):
            arguments = one.get("args")
            yield attributes, arguments if isinstance(arguments, Mapping) else {}


def _patience(callbacks: Mapping[str, Any] | None) -> int:
    """How many evaluations the early stopping has waited for, 0 if there is none; several are added."""
    counts = (
        attributes.get("early_stopping_patience_counter") for attributes, _ in _kept(callbacks, "EarlyStoppingCallback")
    )
    return sum(count for count in counts if type(count) is int and count > 0)


def _pending(callbacks: Mapping[str, Any] | None, name: str) -> list[str]:
    """The attributes that are not as a new callback of the same arguments would have them."""
    return sorted(
        {
            key
            for attributes, arguments in _kept(callbacks, name)
            for key, value in attributes.items()
            if (value != arguments[key] if key in arguments else bool(value))
        }
    )
