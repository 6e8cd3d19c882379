"""Load the plugins and ask them once for their lists. The only file that calls pluggy."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from audit.errors import AuditError, PluginError
from audit.text import did_you_mean

if TYPE_CHECKING:
    import pluggy

    from audit import hookspecs
    from audit.backend.protocol import Backend
    from audit.backend.training import TrainingBackend
    from audit.facts.place import Place
    from audit.report import Report
    from audit.rules import Rule
    from audit.storage import Storage

T = TypeVar("T")

GROUP = "audit"


class Registry:
    """Everything that the plugins provide, sorted by name; each list is loaded when somebody asks for it.

    The guard of an unchanged run asks for none, and the rules are a hundred modules. Raises PluginError, naming the
    plugin, if one cannot be imported or two claim the same name.
    """

    def __init__(self, extra: Sequence[Any] = (), named: Iterable[tuple[str, str]] = ()) -> None:
        self._extra = tuple(extra)
        self._named = sorted(named)
        self.rules_given = bool(extra)
        """Whether the rules are not, or not only, those of the installed plugins."""

    @cached_property
    def sources(self) -> tuple[tuple[str, str | None], ...]:
        """Name and file of every plugin, loaded or not; None for one that is in no file."""
        own = [
            (type(plugin).__qualname__, getattr(plugin, "__file__", None) or _home(sys.modules, plugin))
            for plugin in self._extra
        ]
        return (*((name, _file_of(module)) for name, module in self._named), *own)

    @cached_property
    def plugins(self) -> "pluggy.PluginManager":
        """The plugins themselves."""
        import pluggy

        from audit import hookspecs

        class Manager(pluggy.PluginManager):
            """Looks at the functions of a module alone: pluggy takes nothing else, and looks long at each name."""

            def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
                return super().parse_hookimpl_opts(plugin, name) if _may_be_hook(plugin, name) else None

            def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
                return (
                    super().parse_hookspec_opts(module_or_class, name) if _may_be_hook(module_or_class, name) else None
                )

        manager = Manager(GROUP)
        manager.add_hookspecs(hookspecs)
        for name, module in self._named:
            try:
                manager.register(_import(module), name)
            except Exception as error:
                raise PluginError(
                    f"plugin '{name}' ({module}) cannot be loaded: {type(error).__name__}: {error}"
                ) from error
        for plugin in self._extra:
            manager.register(plugin)
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"a plugin implements a hook that does not exist: {error}") from error
        return manager

    @cached_property
    def rules(self) -> "tuple[Rule, ...]":
        """All rules."""
        found = [rule for brought in self.plugins.hook.audit_rules() for rule in brought]
        _refuse_duplicates("rule", [rule.id for rule in found])
        return tuple(sorted(found, key=lambda rule: rule.id))

    @cached_property
    def backends(self) -> "tuple[Backend, ...]":
        """How the checkpoints of each trainer lie on disk."""
        found = [backend for brought in self.plugins.hook.audit_backends() for backend in brought]
        _refuse_duplicates("backend", [backend.name for backend in found])
        return tuple(sorted(found, key=lambda backend: backend.name))

    @cached_property
    def trainers(self) -> "tuple[TrainingBackend, ...]":
        """What `audit train` can train with."""
        found = [trainer for brought in self.plugins.hook.audit_training_backends() for trainer in brought]
        _refuse_duplicates("training backend", [trainer.name for trainer in found])
        return tuple(sorted(found, key=lambda trainer: trainer.name))

    @cached_property
    def reporters(self) -> "Mapping[str, hookspecs.Reporter]":
        """Output formats of a report by name."""
        return _merged("reporter", self.plugins.hook.audit_reporters())

    @cached_property
    def pages(self) -> "Mapping[str, hookspecs.Page]":
        """Formats of a page by name."""
        return _merged("page", self.plugins.hook.audit_pages())

    @cached_property
    def fleet_pages(self) -> "Mapping[str, hookspecs.FleetPage]":
        """Formats of a fleet's page by name."""
        return _merged("fleet page", self.plugins.hook.audit_fleet_pages())

    @cached_property
    def storages(self) -> "Mapping[str, hookspecs.StorageOpener]":
        """What opens the run behind a URL, by its scheme."""
        return _merged("storage", self.plugins.hook.audit_storages())

    def place(self, path: str, ledger: str | None = None) -> "Place":
        """Return where a run is, on this machine or behind a URL; ``ledger`` is as in Options. Raises AuditError."""
        from audit.facts.place import place_behind, place_here
        from audit.storage import scheme_of

        return place_here(path, ledger) if scheme_of(path) is None else place_behind(path, self.storage, ledger)

    def storage(self, url: str) -> "Storage":
        """Open what is behind a URL. Raises AuditError if no plugin reads its scheme."""
        from audit.storage import scheme_of

        scheme = scheme_of(url) or ""
        if scheme not in self.storages:
            known = ", ".join(f"{name}://" for name in self.storages) or "none"
            raise AuditError(
                f"no storage is known for {scheme}://; known: {known}{did_you_mean(scheme, self.storages)}"
            )
        return self.storages[scheme](url)

    @cached_property
    def commands(self) -> "Mapping[str, hookspecs.Command]":
        """Commands by name."""
        return _merged("command", self.plugins.hook.audit_commands())

    @cached_property
    def observers(self) -> "tuple[hookspecs.Observer, ...]":
        """What may hear of the events of `audit train`."""
        found = [observer for brought in self.plugins.hook.audit_observers() for observer in brought]
        _refuse_duplicates("table", [observer.table for observer in found])
        return tuple(sorted(found, key=lambda observer: observer.table))

    def with_rules(self, rules: "Iterable[Rule]") -> "Registry":
        """Return a registry with these rules instead."""
        other = Registry(self._extra, self._named)
        other.__dict__.update(self.__dict__)
        other.rules = tuple(rules)
        other.rules_given = True
        return other

    def rule(self, id: str) -> "Rule":
        """Return the rule of this id; raises AuditError with the nearest names."""
        for candidate in self.rules:
            if candidate.id == id:
                return candidate
        raise AuditError(f"no rule is named '{id}'{did_you_mean(id, [rule.id for rule in self.rules])}")

    def backend(self, name: str) -> "Backend":
        """Return the backend of this name; raises AuditError with the nearest names."""
        for candidate in self.backends:
            if candidate.name == name:
                return candidate
        raise AuditError(f"no backend is named '{name}'{did_you_mean(name, [b.name for b in self.backends])}")

    def trainer(self, name: str) -> "TrainingBackend":
        """Return the training backend of this name; raises AuditError with the available ones."""
        for candidate in self.trainers:
            if candidate.name == name:
                return candidate
        names = [trainer.name for trainer in self.trainers]
        raise AuditError(
            f"no training backend is named '{name}'; available: {', '.join(names)}{did_you_mean(name, names)}"
        )

    def reporter(self, name: str) -> "hookspecs.Reporter":
        """Return the reporter of this format; raises AuditError with the available formats."""
        if not self.reporters:
            raise AuditError("no output format is installed; reinstall checkpoint-audit")
        return _of_name("format", name, self.reporters)

    def page(self, name: str) -> "hookspecs.Page":
        """Return the renderer of this page format; raises AuditError with the available formats."""
        return _of_name("page format", name, self.pages)

    def fleet_page(self, name: str) -> "hookspecs.FleetPage":
        """Return the renderer of this format of a fleet's page; raises AuditError with the available formats."""
        return _of_name("page format", name, self.fleet_pages)

    def verified(self, report: "Report") -> None:
        """Notify observers of every checkpoint of a finished report."""
        for checkpoint in report.checkpoints:
            self.plugins.hook.audit_checkpoint_verified(report=report, checkpoint=checkpoint.name)


def load(extra: Sequence[Any] = ()) -> Registry:
    """Return a registry of every installed plugin of the entry-point group, the built-in ones among them.

    With ``extra`` objects everything is loaded at once, otherwise when it is asked for: then a process that audits many
    runs has one registry, as long as no plugin is installed or removed. Raises PluginError.
    """
    named = frozenset(_entry_points())
    if not extra:
        return _registry_of(named)
    registry = Registry(extra, named)
    _ = (
        registry.rules,
        registry.backends,
        registry.trainers,
        registry.reporters,
        registry.pages,
        registry.fleet_pages,
        registry.commands,
        registry.observers,
        registry.storages,
    )
    return registry


@lru_cache(maxsize=1)
def _registry_of(named: frozenset[tuple[str, str]]) -> Registry:
    return Registry((), named)


def _merged(what: str, brought: Iterable[Mapping[str, T]]) -> dict[str, T]:
    named: dict[str, T] = {}
    for found in brought:
        _refuse_duplicates(what, [*named, *found])
        named.update(found)
    return dict(sorted(named.items()))


def _may_be_hook(plugin: Any, name: str) -> bool:
    return not isinstance(plugin, ModuleType) or isinstance(vars(plugin).get(name), FunctionType)


def _home(modules: Mapping[str, Any], plugin: Any) -> str | None:
    """The file of the class of a plugin that is an object."""
    return getattr(modules.get(type(plugin).__module__), "__file__", None)


def _file_of(module: str) -> str | None:
    """The file of a module, which is not imported; None if there is none.

    Nor is the package imported that has it as a plain file, as ``find_spec`` alone would.
    """
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    from importlib.util import find_spec

    package, _, name = module.rpartition(".")
    try:
        above = find_spec(package) if package else None
        for home in (above.submodule_search_locations or ()) if above is not None else ():
            path = os.path.join(home, f"{name}.py")
            if os.path.isfile(path):
                return path
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None else None


def _import(module: str) -> Any:
    from importlib import import_module

    return import_module(module)


def _entry_points() -> set[tuple[str, str]]:
    """Return (name, module) of every installed plugin.

    ``importlib.metadata`` would parse the metadata of all installed distributions, half of the start-up time of a
    quick verification; the files that it reads are plain INI text, and their names are fixed by the packaging
    standard ("Entry points specification"), so only the ones that mention the group are parsed.
    """
    found: set[tuple[str, str]] = set()
    for path in dict.fromkeys(sys.path):
        try:
            found |= _entry_points_in(path, os.stat(path or ".").st_mtime_ns)
        except OSError:
            continue
    return found


@lru_cache(maxsize=64)
def _entry_points_in(path: str, mtime_ns: int) -> frozenset[tuple[str, str]]:
    """The plugins that are installed in one directory; to install or remove one changes its time."""
    found: set[tuple[str, str]] = set()
    for name in os.listdir(path or "."):
        if name.endswith((".dist-info", ".egg-info")):
            found |= _group_of(os.path.join(path, name, "entry_points.txt"))
    return frozenset(found)


def _group_of(path: str) -> set[tuple[str, str]]:
    if not os.path.exists(path):  # most have none, and to ask is less than to try
        return set()
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return set()
    if f"[{GROUP}]".encode() not in data:
        return set()
    found = set()
    section = ""
    for line in map(str.strip, data.decode("utf-8", "replace").splitlines()):  # as importlib.metadata reads it
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == GROUP and line and not line.startswith("#"):
            name, _, module = line.partition("=")
            found.add((name.strip(), module.strip()))
    return found


def _of_name(what: str, name: str, known: Mapping[str, T]) -> T:
    """Return the one of this name. Raises AuditError with the available ones."""
    if name not in known:
        available = ", ".join(known) or "none"
        raise AuditError(f"no {what} is named '{name}'; available: {available}{did_you_mean(name, known)}")
    return known[name]


def _refuse_duplicates(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PluginError(f"two plugins provide a {what} named '{name}'; uninstall one of them")
        seen.add(name)
