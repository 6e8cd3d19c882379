"""What the audit finds at each save, in the experiment tracker that the training logs to.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["TrackersCallback"]

if TYPE_CHECKING:
    from audit_trackers.callback import TrackersCallback


def __getattr__(name: str) -> Any:
    """Import the callback at its first use: it needs transformers, the rest of this package does not."""
    if name not in __all__:
        raise AttributeError(f"module 'audit_trackers' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("audit_trackers.callback"), name)
