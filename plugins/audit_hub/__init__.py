"""``audit hub``: proven checkpoints on the Hugging Face Hub, uploaded by a process of its own and verified there.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["HubCallback"]

if TYPE_CHECKING:
    from audit_hub.callback import HubCallback


def __getattr__(name: str) -> Any:
    """Import the callback at its first use: it needs transformers, the rest of this package does not."""
    if name not in __all__:
        raise AttributeError(f"module 'audit_hub' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("audit_hub.callback"), name)
