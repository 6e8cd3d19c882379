"""The backend for Hugging Face Trainer and PEFT; a callback that audits inside your own training; rehearsals of it.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["AuditCallback", "CheckpointViolation", "rehearse", "straight_against_resumed"]

if TYPE_CHECKING:
    from audit_hf_trainer.callback import AuditCallback, CheckpointViolation
    from audit_hf_trainer.training.own_rehearsal import rehearse, straight_against_resumed

_HOMES = {
    "AuditCallback": "callback",
    "CheckpointViolation": "callback",
    "rehearse": "training.own_rehearsal",
    "straight_against_resumed": "training.own_rehearsal",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: these need transformers, the rest of this package does not."""
    if name not in __all__:
        raise AttributeError(f"module 'audit_hf_trainer' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"audit_hf_trainer.{_HOMES[name]}"), name)
