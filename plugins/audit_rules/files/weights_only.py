"""files/weights-only."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Use it for deployment only; train with save_only_model=False to be able to resume.",
)
def weights_only(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The checkpoint holds only weights, which is enough for deployment but not for resuming.

    Saved with ``save_only_model=True``, by ``save_model()``, or stripped later. Trainer 5.23 resumes from it without a
    message, with a fresh optimizer, a schedule at its start and other random numbers. If the training arguments ask
    for it, it is an info, not an error; a resume from it is refused all the same. So is a state of
    ``torch.distributed.checkpoint`` without an optimizer, as torchtitan's last save is.
    """
    states: tuple[ShardedState, ...] = checkpoint.optional("shards") or ()
    together = layout.sharded_optimizer == layout.sharded_weights and not checkpoint.backend.arguments_file
    if states and together and not any(state.optimizers for state in states):
        yield Violation("holds no optimizer state: it cannot be resumed from", severity=Severity.INFO)
    if not layout.weights_only:
        return
    arguments = checkpoint.optional("arguments")
    if arguments is not None and arguments.get("save_only_model") is True:
        yield Violation("was saved with save_only_model: it cannot be resumed from", severity=Severity.INFO)
    else:
        # lightning 2.6: a resume stops with a KeyError that names this option.
        remedy = "Use it for deployment only; train with save_weights_only=False to be able to resume."
        yield Violation(
            "holds neither optimizer nor scheduler nor random states: it cannot be resumed from",
            remedy=remedy if checkpoint.is_file else None,
        )
