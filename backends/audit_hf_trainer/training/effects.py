"""What a trainer would do outside of its own process, so that it must not be rehearsed as it is."""

from typing import Any

from audit.plugin import AuditError

PUSHES = "the trainer pushes to the Hub; make it with push_to_hub=False"
HARMLESS = frozenset({
    "DefaultFlowCallback", "PrinterCallback", "ProgressCallback", "NotebookProgressCallback", "EarlyStoppingCallback",
    "ExportableState", "AuditCallback",
})  # fmt: skip
"""Callbacks that steer the training or print. An AuditCallback is taken out: it verifies and pins."""


def check_effects(trainer: Any, allowed: tuple[Any, ...] = ()) -> None:
    """Raise AuditError for a trainer that has :func:`effects_of` its own; take out an AuditCallback."""
    found = effects_of(trainer, allowed)
    if found is not None:
        raise AuditError(f"it cannot be rehearsed: {found}")
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__module__ == "audit_hf_trainer.callback":
            trainer.remove_callback(callback)


def effects_of(trainer: Any, allowed: tuple[Any, ...] = ()) -> str | None:
    """Return what a trainer has that must not happen in a rehearsal, with what to do; None if there is nothing.

    ``allowed`` are classes of callbacks, or their names, that somebody vouches for.
    """
    args = trainer.args
    if getattr(args, "push_to_hub", False):
        return PUSHES
    if getattr(args, "auto_find_batch_size", False):
        return "the trainer chooses its batch size by itself; make it with auto_find_batch_size=False"
    vouched = {item if isinstance(item, str) else item.__name__ for item in allowed}
    for callback in trainer.callback_handler.callbacks:
        kind = type(callback)
        if kind.__name__ in vouched:
            continue
        if kind.__module__.startswith("transformers.integrations"):
            return f'the trainer reports to a tracker ({kind.__name__}); make it with report_to="none"'
        if kind.__name__ in HARMLESS and kind.__module__.split(".")[0] in ("transformers", "audit_hf_trainer"):
            continue
        return (
            f"the trainer has the callback {kind.__module__}.{kind.__qualname__}, which may do anything; make it without, or vouch "
            f'for it: callbacks=["{kind.__name__}"]'
        )
    return None
