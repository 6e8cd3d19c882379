"""Registers every rule file of this package on the same hook that outsiders use.

A rule file is ``<family>/<name>.py`` with a rule of the same name in it; a new file is found by itself.
"""

import os
from importlib import import_module

from audit.plugin import PluginError, Rule, hookimpl


@hookimpl
def audit_rules() -> list[Rule]:
    """Import all rule files, in the order of their names."""
    here = os.path.dirname(__file__)
    found = []
    for family in sorted(os.listdir(here)):
        folder = os.path.join(here, family)
        if family.startswith(("_", ".")) or not os.path.isdir(folder):
            continue
        for file in sorted(os.listdir(folder)):
            name, extension = os.path.splitext(file)
            if extension != ".py" or name.startswith("_"):
                continue
            found.append(_rule(f"audit_rules.{family}.{name}", name))
    return found


def _rule(module: str, name: str) -> Rule:
    made = getattr(import_module(module), name, None)
    if not isinstance(made, Rule):
        raise PluginError(f"{module}: a rule file must have a rule of its own name, '{name}'")
    return made
