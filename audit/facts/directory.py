"""The directory of one checkpoint: what is in it, and whether it was written to the end."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from audit.backend.protocol import ITSELF, Backend, means_newest, parts
from audit.errors import NotApplicable
from audit.facts.allowance import Allowance
from audit.facts.completeness import CheckpointState, Clock, Completeness, completeness_of
from audit.facts.fact import Facts, Watch, fact
from audit.facts.file import PLACEHOLDER_SUFFIXES, File
from audit.facts.listing import Listing
from audit.facts.shared import Shared
from audit.formats.zip_directory import ends_well
from audit.storage import DIRECTORY, FILE, Entry, Storage

if TYPE_CHECKING:
    from audit.formats.damage import Damage
    from audit.formats.trainer_state import StateDocument


class RunFiles(Protocol):
    """A run as its checkpoints read their files from it; :class:`audit.facts.run.Run` provides it."""

    @property
    def path(self) -> str:
        """The run's directory, as the user named it."""
        ...

    @property
    def storage(self) -> Storage:
        """Where the run is."""
        ...

    @property
    def backend(self) -> Backend:
        """The trainer that wrote the run."""
        ...

    @property
    def watch(self) -> Watch | None:
        """Notes what rules ask of its checkpoints."""
        ...

    @property
    def depth(self) -> str:
        """How deep it is read: ``full`` or ``quick``."""
        ...

    @property
    def allowance(self) -> Allowance:
        """The memory for the contents of its files."""
        ...

    @property
    def shared(self) -> Shared:
        """What its checkpoints have in common."""
        ...

    @property
    def clock(self) -> Clock:
        """When the run was looked at."""
        ...

    @property
    def listing(self) -> Listing:
        """What is in the run."""
        ...

    @property
    def unlistable(self) -> frozenset[str]:
        """Directories that the operating system does not let us list, relative to the run."""
        ...

    @property
    def overfull(self) -> frozenset[str]:
        """Names of checkpoints with more entries or levels than any real one; the rest was not looked at."""
        ...

    def entry_of(self, name: str) -> Entry:
        """The entry of a checkpoint in the run's root."""
        ...

    @property
    def unsettled(self) -> frozenset[str]:
        """Names of checkpoints that changed while they were read."""
        ...

    def arguments_of(self, name: str) -> Mapping[str, Any] | None:
        """The training arguments of a checkpoint, complete or not; None if they could not be read."""
        ...

    def state_of(self, name: str) -> "StateDocument | Damage":
        """The trainer state of a checkpoint or its Damage. Raises NotApplicable if there is no such file."""
        ...


class Directory(Facts):
    """The directory ``name`` of a run; ``entries`` are keyed by path relative to it, directories included.

    For a trainer whose checkpoints are files it is such a file, and its only entry is ITSELF.
    """

    def __init__(self, run: RunFiles, name: str, step: int, entries: Mapping[str, Entry]) -> None:
        self._run = run
        self.watch = run.watch
        self.name = name
        self.step = step
        self.entries = entries

    @property
    def backend(self) -> Backend:
        """The trainer that wrote it."""
        return self._run.backend

    @property
    def is_file(self) -> bool:
        """Whether it is one file instead of a directory."""
        return ITSELF in self.entries and self._run.entry_of(self.name).kind == FILE

    @property
    def meant_as_newest(self) -> bool:
        """Whether its name says that it is the newest of its run, whatever its step: Lightning's ``last.ckpt``."""
        return means_newest(self.backend, self.name)

    @fact
    def completeness(self) -> Completeness:
        """Whether it was written to the end: the state file is written last, the sentinel is removed last."""
        if self.name in self._run.unlistable:
            raise NotApplicable("the directory cannot be listed")
        if self.name in self._run.unsettled:
            return Completeness(CheckpointState.IN_PROGRESS, "its files changed while they were read")
        clock = self._run.clock
        if self.is_file and clock.by_trainer and clock.recent(self.entries[ITSELF].mtime_ns) and self._is_cut:
            return Completeness(CheckpointState.IN_PROGRESS, "its end is not written yet")
        return completeness_of(self._run.listing, self.name, self._run.backend, self._run.clock, self._run.arguments_of)

    @property
    def _is_cut(self) -> bool:
        """Whether the end of an archive, which torch writes last, is not at the end of this file."""
        file = self._every_file[ITSELF]
        return file.readable and file.read(ends_well) is False

    @property
    def complete(self) -> bool:
        """Whether it could be listed and was written to the end."""
        found = self.optional("completeness")
        return found is not None and found.state is CheckpointState.COMPLETE

    @fact
    def files(self) -> Mapping[str, File]:
        """Files by path relative to the checkpoint. Not there for an incomplete checkpoint: it has one finding."""
        self.refuse_incomplete()
        return self._every_file

    def refuse_incomplete(self) -> None:
        """Raise NotApplicable if it is not written to its end."""
        if self.completeness.state is not CheckpointState.COMPLETE:
            raise NotApplicable(f"the checkpoint is {self.completeness.state}")

    @fact
    def _every_file(self) -> Mapping[str, File]:
        arguments = self._run.backend.arguments_file
        weights_at = parts(self._run.backend).get("weights", ())
        return {
            path: File(
                self._run.storage,
                path,
                entry,
                self._run.depth == "full",
                path == arguments,
                self._run.allowance,
                self._run.shared,
                weights_at if path == ITSELF else (),
            )
            for path, entry in self.entries.items()
            if entry.kind != DIRECTORY
        }

    def file(self, path: str | None, role: str = "file") -> File:
        """Return the file at ``path``. Raises NotApplicable if there is none."""
        if path is None or path not in self.files:
            raise NotApplicable(f"there is no {role}")
        return self.files[path]

    @property
    def unlistable(self) -> frozenset[str]:
        """Directories that the operating system does not let us list, relative to the checkpoint; "" is itself."""
        inside = f"{self.name}/"
        there = self._run.unlistable
        return frozenset(path[len(inside) :] for path in there if path == self.name or path.startswith(inside))

    @property
    def overfull(self) -> bool:
        """Whether it has more entries or levels than any real one; the rest was not looked at."""
        return self.name in self._run.overfull

    def stands_in(self, path: str) -> str | None:
        """Return the name of what stands where ``path`` should be, or None.

        A placeholder, or a directory that cannot be listed: what is in it is unknown, not missing.
        """
        for suffix in PLACEHOLDER_SUFFIXES:
            if path + suffix in self.entries:
                return path + suffix
        directory = path.rpartition("/")[0]
        while directory:
            if f"{self.name}/{directory}" in self._run.unlistable:
                return directory
            directory = directory.rpartition("/")[0]
        return None

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.size for entry in self.entries.values() if entry.kind == FILE)
