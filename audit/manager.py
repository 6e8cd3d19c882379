"""Load the plugins and ask them once for their lists. The only file that calls pluggy."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pluggy

from audit import hookspecs
from audit.backend.layout import Backend
from audit.backend.training import TrainingBackend
from audit.errors import AuditError, PluginError
from audit.report import Report
from audit.rules import Rule
from audit.text import did_you_mean

GROUP = "audit"


class Registry(NamedTuple):
    """Everything that the plugins provide, sorted by name."""

    rules: tuple[Rule, ...]
    backends: tuple[Backend, ...]
    trainers: tuple[TrainingBackend, ...]
    reporters: Mapping[str, hookspecs.Reporter]
    pages: Mapping[str, hookspecs.Page]
    plugins: pluggy.PluginManager

    def rule(self, id: str) -> Rule:
        """Return the rule of this id; raises AuditError with the nearest names."""
        for candidate in self.rules:
            if candidate.id == id:
                return candidate
        raise AuditError(f"no rule is named '{id}'{did_you_mean(id, [rule.id for rule in self.rules])}")

    def backend(self, name: str) -> Backend:
        """Return the backend of this name; raises AuditError with the nearest names."""
        for candidate in self.backends:
            if candidate.name == name:
                return candidate
        raise AuditError(f"no backend is named '{name}'{did_you_mean(name, [b.name for b in self.backends])}")

    def trainer(self, name: str) -> TrainingBackend:
        """Return the training backend of this name; raises AuditError with the available ones."""
        for candidate in self.trainers:
            if candidate.name == name:
                return candidate
        names = [trainer.name for trainer in self.trainers]
        raise AuditError(
            f"no training backend is named '{name}'; available: {', '.join(names)}{did_you_mean(name, names)}"
        )

    def reporter(self, name: str) -> hookspecs.Reporter:
        """Return the reporter of this format; raises AuditError with the available formats."""
        if not self.reporters:
            raise AuditError("no output format is installed; reinstall checkpoint-audit")
        if name not in self.reporters:
            raise AuditError(f"no format is named '{name}'; available: {', '.join(self.reporters)}")
        return self.reporters[name]

    def page(self, name: str) -> hookspecs.Page:
        """Return the renderer of this page format; raises AuditError with the available formats."""
        if name not in self.pages:
            raise AuditError(f"no page format is named '{name}'; available: {', '.join(self.pages) or 'none'}")
        return self.pages[name]

    def verified(self, report: Report) -> None:
        """Notify observers of every checkpoint of a finished report."""
        for checkpoint in report.checkpoints:
            self.plugins.hook.audit_checkpoint_verified(report=report, checkpoint=checkpoint.name)


def load(extra: Iterable[Any] = ()) -> Registry:
    """Load every installed plugin of the entry-point group, the built-in ones among them, and ``extra`` objects.

    Raises PluginError, naming the plugin, if one cannot be imported or two claim the same name.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for name, module in sorted(_entry_points()):
        try:
            manager.register(_import(module), name)
        except Exception as error:
            raise PluginError(
                f"plugin '{name}' ({module}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    for plugin in extra:
        manager.register(plugin)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a plugin implements a hook that does not exist: {error}") from error
    rules = [rule for found in manager.hook.audit_rules() for rule in found]
    backends = [backend for found in manager.hook.audit_backends() for backend in found]
    trainers = [trainer for found in manager.hook.audit_training_backends() for trainer in found]
    pages: dict[str, hookspecs.Page] = {}
    for brought in manager.hook.audit_pages():
        _refuse_duplicates("page", [*pages, *brought])
        pages.update(brought)
    named: dict[str, hookspecs.Reporter] = {}
    for found in manager.hook.audit_reporters():
        _refuse_duplicates("reporter", [*named, *found])
        named.update(found)
    _refuse_duplicates("rule", [rule.id for rule in rules])
    _refuse_duplicates("backend", [backend.name for backend in backends])
    _refuse_duplicates("training backend", [trainer.name for trainer in trainers])
    return Registry(
        tuple(sorted(rules, key=lambda rule: rule.id)),
        tuple(sorted(backends, key=lambda backend: backend.name)),
        tuple(sorted(trainers, key=lambda trainer: trainer.name)),
        dict(sorted(named.items())),
        dict(sorted(pages.items())),
        manager,
    )


def _import(module: str) -> Any:
    from importlib import import_module

    return import_module(module)


def _entry_points() -> set[tuple[str, str]]:
    """Return (name, module) of every installed plugin.

    ``importlib.metadata`` would parse the metadata of all installed distributions, half of the start-up time of a
    quick verification; the files that it reads are plain INI text, and their names are fixed by the packaging
    standard ("Entry points specification"), so only the ones that mention the group are parsed.
    """
    import sys

    found: set[tuple[str, str]] = set()
    for path in dict.fromkeys(sys.path):
        try:
            names = os.listdir(path or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                found |= _group_of(os.path.join(path, name, "entry_points.txt"))
    return found


def _group_of(path: str) -> set[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return set()
    if f"[{GROUP}]" not in text:
        return set()
    found = set()
    section = ""
    for line in map(str.strip, text.splitlines()):  # as importlib.metadata reads it
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == GROUP and line and not line.startswith("#"):
            name, _, module = line.partition("=")
            found.add((name.strip(), module.strip()))
    return found


def _refuse_duplicates(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PluginError(f"two plugins provide a {what} named '{name}'; uninstall one of them")
        seen.add(name)
