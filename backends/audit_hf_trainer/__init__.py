"""The backend for Hugging Face Trainer and PEFT, and a callback that audits inside your own training.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["AuditCallback", "CheckpointViolation"]

if TYPE_CHECKING:
    from audit_hf_trainer.callback import AuditCallback, CheckpointViolation


def __getattr__(name: str) -> Any:
    """Import the callback at its first use: it needs transformers, the rest of this package does not."""
    if name not in __all__:
        raise AttributeError(f"module 'audit_hf_trainer' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("audit_hf_trainer.callback"), name)
