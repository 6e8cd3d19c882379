"""The audit inside pytest: an item for every rule and checkpoint, fixtures, and ``assert_sound`` for tests of your own.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a distribution that brings a plugin for it, and complain
where a program has imported it before.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["AuditWarning", "assert_sound"]

if TYPE_CHECKING:
    from pytest_audit.asserting import assert_sound
    from pytest_audit.text import AuditWarning

_HOMES = {"assert_sound": "pytest_audit.asserting", "AuditWarning": "pytest_audit.text"}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: every pytest session loads this package, and few use it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pytest_audit' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
