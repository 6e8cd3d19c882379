"""The hooks. Each registers a list or observes; nothing depends on the order of plugins.

A plugin is a module with hook implementations, named in the entry-point group ``audit``::

    from audit.plugin import hookimpl

    @hookimpl
    def audit_rules():
        return [my_rule]
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pluggy

from audit.findings import Severity
from audit.report import Report
from audit.rules import Rule

hookspec = pluggy.HookspecMarker("audit")
hookimpl = pluggy.HookimplMarker("audit")
"""Marks a function of a plugin as the implementation of the hook of its name."""

if TYPE_CHECKING:  # every command that loads a plugin would pay for them
    from audit.backend.protocol import Backend
    from audit.backend.training import Judged, TrainingBackend
    from audit.options import Options
    from audit.page import FleetView, RunCurves
    from audit.storage import Storage


class Unaudited(NamedTuple):
    """A run that was named and could not be audited, with the reason; there is no report of it."""

    path: str
    reason: str


class Context(NamedTuple):
    """What a reporter gets beside the reports. A later version may add fields.

    ``color`` is true on a terminal that wants it. ``verbosity`` -1: the verdict only; 1: also what was not applicable.
    ``fail_on`` is the lowest severity for which the exit code is 1, None for never. ``rules`` are all installed rules,
    for the documentation of those that the reports name. ``unaudited`` are the other runs that were named.
    """

    color: bool = False
    verbosity: int = 0
    fail_on: Severity | None = Severity.ERROR
    rules: tuple[Rule, ...] = ()
    unaudited: tuple[Unaudited, ...] = ()


PLAIN = Context()

Reporter = Callable[[Sequence[Report], Context], str]
"""Returns reports as text; writes no file and prints nothing."""
Page = Callable[["Sequence[RunCurves]"], str]
"""Returns what is known of runs as the text of one file."""
FleetPage = Callable[["FleetView"], str]
"""Returns what is known of a fleet as the text of one file."""
StorageOpener = Callable[[str], "Storage"]
"""Opens what is below a URL, which has no query and no password. Raises AuditError, without a secret in it."""


class Command(NamedTuple):
    """A command ``audit NAME``: its line in ``audit --help``, and the ``module`` that is imported when it is called.

    The module has ``configure(parser)``, which adds arguments to an :class:`argparse.ArgumentParser`;
    ``call(arguments, terminal: Terminal) -> int``, which returns the exit code; and perhaps ``EXAMPLES``, pairs of a
    command line and what it does. An AuditError that it raises is one line and exit code 2, a RefusedError exit code 1.
    ``task`` is the heading under which it is listed: check, resume, train, look, keep, learn.
    """

    help: str
    module: str
    task: str = "keep"


class Terminal(Protocol):
    """Where a command of a plugin prints."""

    def write(self, text: str) -> None:
        """Print on stdout, as it is."""

    def note(self, text: str) -> None:
        """Print one line on stderr, without control characters and secrets."""

    def document(self, fields: Mapping[str, Any]) -> None:
        """Print one JSON object on stdout, with ``schema_version`` first."""

    def progress(self, run: str, quiet: bool) -> AbstractContextManager[Callable[[int, int], None]]:
        """Return what shows a long scan: the ``progress`` that functions of ``audit.plugin`` take."""
        ...


class Observer(Protocol):
    """Hears of the events of ``audit train`` if the configuration has its ``table``.

    It may have a ``starting_table()``, which returns the table as ``audit init`` writes it: each line commented out,
    with a comment behind each key. It may have a ``check(settings)``, which raises ConfigError for a table that fits
    the schema and cannot be used: ``audit plan`` calls it, too.
    """

    table: str
    """Name of its table in the configuration, such as ``hub`` for ``[hub]``."""

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of the table."""
        ...

    def begin(
        self, run: str, settings: Mapping[str, Any], home: str, options: "Options"
    ) -> Callable[[Mapping[str, Any]], str | None]:
        """Return what is called with each event, a JSON object as docs/train.md lists them; it may return a note.

        ``run`` is the absolute path of the run, ``settings`` the table, ``home`` the directory of the configuration,
        ``options`` how the training judges its checkpoints.
        The function is called between two steps: it returns soon. What it raises is a note, too, and ends the calls.
        Raises ConfigError.
        """
        ...


@hookspec
def audit_rules() -> list[Rule]:
    """Return rules, made with :func:`audit.plugin.rule`."""
    raise NotImplementedError


@hookspec
def audit_backends() -> "list[Backend]":
    """Return trainer backends: what the files of a trainer's checkpoints are."""
    raise NotImplementedError


@hookspec
def audit_training_backends() -> "list[TrainingBackend]":
    """Return backends that ``audit train`` can train with; docs/backends.md has a complete example."""
    raise NotImplementedError


@hookspec
def audit_reporters() -> dict[str, Reporter]:
    """Return reporters by format name, for ``audit verify --format``: ``render(reports, context) -> str``."""
    raise NotImplementedError


@hookspec
def audit_pages() -> dict[str, Page]:
    """Return pages for ``audit report`` by format name: ``render(runs: Sequence[RunCurves]) -> str``, one file for all.

    Text in :class:`audit.plugin.RunCurves` comes from the audited files: escape it.
    """
    raise NotImplementedError


@hookspec
def audit_fleet_pages() -> dict[str, FleetPage]:
    """Return pages for ``audit fleet report`` by format name: ``render(view: FleetView) -> str``.

    Text in :class:`audit.plugin.FleetView` comes from the audited files: escape it.
    """
    raise NotImplementedError


@hookspec
def audit_storages() -> dict[str, StorageOpener]:
    """Return what opens a run behind a URL, by scheme in lower case: ``open(url) -> Storage``."""
    raise NotImplementedError


@hookspec
def audit_commands() -> dict[str, Command]:
    """Return commands by name: ``audit NAME``. A name of a command that audit has itself is an error."""
    raise NotImplementedError


@hookspec
def audit_observers() -> list[Observer]:
    """Return what hears of the events of ``audit train``, each with a table of its own in the configuration."""
    raise NotImplementedError


@hookspec
def audit_checkpoint_verified(report: Report, checkpoint: str) -> None:
    """Observe that a checkpoint was judged; ``report`` is the finished report of its run."""


@hookspec
def audit_legs_judged(
    run: str, judged: "Sequence[Judged]", since: str, writers: Sequence[Any], without: Collection[str]
) -> Mapping[str, str]:
    """Log what `audit train` has found after legs to the trackers that are open in this process, which trained them.

    What was pushed ``since`` this time was not logged before ("": nothing was). ``writers`` are those of
    :class:`audit.plugin.OpenTrackers`; nothing is logged to the trackers ``without``. Returns why a tracker did not
    take it, by its name: nothing more is logged to it in this call of `audit train`. May be called in a thread: while a
    leg is trained, and under a launcher.
    """
    raise NotImplementedError
