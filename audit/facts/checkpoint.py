"""The facts of one checkpoint, read lazily and once.

Every public attribute marked ``fact`` may be a parameter of a rule. A fact that does not exist or could not be read
raises NotApplicable with the reason; ``checkpoint.optional("scaler")`` gives None instead.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from audit.backend.layout import AdapterFiles, Backend, Layout
from audit.errors import NotApplicable
from audit.facts.allowance import Allowance
from audit.facts.completeness import CheckpointState, Clock, Completeness, completeness_of
from audit.facts.fact import Facts, Watch, fact
from audit.facts.file import JSON_CHECKED, JSON_QUICK, PLACEHOLDER_SUFFIXES, File, FileFormat
from audit.facts.listing import Listing
from audit.formats.damage import Damage
from audit.formats.tensors import Tensor
from audit.storage import DIRECTORY, FILE, Entry, Storage

if TYPE_CHECKING:
    from audit.formats.optimizer import OptimizerState
    from audit.formats.rng import RngState
    from audit.formats.scheduler import ScalerState, SchedulerState
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.trainer_state import History, StateDocument, TrainerState
    from audit.formats.training_args import TrainingArguments
    from audit.ledger.records import Records
    from audit.ledger.seals import Seal
    from audit.scan import FileScan


class WeightFile(NamedTuple):
    """One file with weights and its tensors by name."""

    file: str
    tensors: Mapping[str, Tensor]


class Adapter(NamedTuple):
    """One PEFT adapter: its files, its configuration (a JSON object) and its tensors by name."""

    files: AdapterFiles
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class SessionFacts(Protocol):
    """The checkpoints that one training session wrote; :class:`audit.facts.session.Session` provides it."""

    @property
    def members(self) -> "tuple[Checkpoint, ...]":
        """Complete checkpoints of one lineage with the same training arguments."""
        ...

    @property
    def adapter_directories(self) -> Mapping[str, int]:
        """How many members have an adapter in each directory ("" is the checkpoint itself)."""
        ...

    @property
    def scaler(self) -> str | None:
        """The file of the gradient scaler in the first member that has one."""
        ...


ANYTHING = "*"
"""Noted for a rule that looked at the run itself."""
BASE, SEAL, PREVIOUS, NEIGHBOURS, SESSION = "base", "seal", "previous", "neighbours", "session"
BYTES, OLDER_BYTES = "bytes", "older bytes"
BEYOND = {
    "history": BASE, "state_document": BASE, "seal": SEAL, "previous": PREVIOUS, "neighbours": NEIGHBOURS,
    "session": SESSION,
}  # fmt: skip
"""Facts that depend on more than the files of their checkpoint, and on what; see :mod:`audit.judging.outcomes`."""


class RunFacts(Protocol):
    """What a checkpoint, and rules over one checkpoint, use of its run; :class:`audit.facts.run.Run` provides it."""

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

    @property
    def records(self) -> "Records":
        """What the run's ledger said when the audit began."""
        ...

    @property
    def checkpoints(self) -> "tuple[Checkpoint, ...]":
        """All checkpoints, by step."""
        ...

    @property
    def judged(self) -> "tuple[Checkpoint, ...]":
        """The checkpoints that rules are applied to."""
        ...

    @property
    def lineages(self) -> "tuple[tuple[Checkpoint, ...], ...]":
        """Checkpoints by uninterrupted history."""
        ...

    @property
    def steps(self) -> frozenset[int]:
        """The steps of all checkpoints."""
        ...

    def lineage_of(self, checkpoint: "Checkpoint") -> "tuple[Checkpoint, ...]":
        """The lineage of a checkpoint; nothing if it is in none."""
        ...

    def before(self, checkpoint: "Checkpoint") -> "Checkpoint | None":
        """The checkpoint before this one in its lineage, None if it is the first or in none."""
        ...

    def session_of(self, checkpoint: "Checkpoint") -> "SessionFacts":
        """The session that wrote a checkpoint. Raises NotApplicable if its arguments could not be read."""
        ...

    @property
    def stamps(self) -> Mapping[tuple[str, str], str]:
        """What must stay the same for the scan of a file to hold, by (checkpoint, file)."""
        ...

    def scan_text_of(self, checkpoint: "Checkpoint", path: str) -> str:
        """The text by which the scan of a file is remembered."""
        ...

    def scans_of(self, checkpoint: "Checkpoint") -> "Mapping[str, FileScan]":
        """The scan of every byte of a checkpoint that is judged, by file; nothing of another one."""
        ...

    def digests_of(self, checkpoint: "Checkpoint") -> Mapping[str, str]:
        """The digests of the files of a judged checkpoint that could be read."""
        ...

    def with_same_bytes(self, path: str, digest: str, below: int | None = None) -> "tuple[Checkpoint, ...]":
        """The judged checkpoints whose file ``path`` has this digest, by step; only steps ``below``, if given."""
        ...

    def state_of(self, checkpoint: "Checkpoint") -> "StateDocument | Damage":
        """The trainer state of a checkpoint or its Damage. Raises NotApplicable if there is no such file."""
        ...

    def way_back(self, first: "Checkpoint", before: "Checkpoint", after: "Checkpoint") -> float | None:
        """How much of the way from ``before`` back to ``first`` the weights went; see :mod:`audit.facts.way_back`."""
        ...

    def optional(self, name: str) -> Any:
        """A fact of the run, None if it is not there."""
        ...


class Checkpoint(Facts):
    """One ``checkpoint-N`` of a run; ``entries`` are keyed by path relative to it, directories included."""

    def __init__(self, run: RunFacts, name: str, step: int, entries: Mapping[str, Entry]) -> None:
        self._run = run
        self.watch = run.watch
        self.name = name
        self.step = step
        self.entries = entries

    @property
    def run(self) -> RunFacts:
        """Its run. The outcome of a rule that asks for it is not remembered: it may depend on anything."""
        if self.watch is not None and self.watch.seen is not None:
            self.watch.seen.add(ANYTHING)
        return self._run

    @property
    def backend(self) -> Backend:
        """The trainer that wrote it."""
        return self._run.backend

    def asked(self, name: str, value: Any) -> None:
        """Note what a fact depends on beside the files of this checkpoint: the answer, and the checkpoints in it."""
        seen = self.watch.seen if self.watch is not None else None
        if seen is None:
            return
        seen.add(self.name)
        if name in BEYOND:
            seen.add(f"{self.name}!{BEYOND[name]}")
            others = value if type(value) is tuple else (value,)
            seen.update(item.name for item in others if isinstance(item, Checkpoint))

    # -- what is there ------------------------------------------------------------------------------------------

    @fact
    def completeness(self) -> Completeness:
        """Whether it was written to the end: the state file is written last, the sentinel is removed last."""
        if self.name in self._run.unlistable:
            raise NotApplicable("the directory cannot be listed")
        if self.name in self._run.unsettled:
            return Completeness(CheckpointState.IN_PROGRESS, "its files changed while they were read")
        return completeness_of(self._run.listing, self.name, self._run.backend, self._run.clock, self._arguments_of)

    @property
    def other_program(self) -> str | None:
        """What saved it in words if no checkpoint of the run has a trainer state, None if one has.

        One checkpoint alone, in a layout that is not known, may as well be an interrupted save.
        """
        from audit.facts.traces import layout_of

        there = self.run.listing
        if any(self.backend.state_file in entries for entries in (there.entries, *there.inside.values())):
            return None
        known = layout_of(self.entries)
        return known or ("a checkpoint of another program than the trainer" if len(there.inside) > 1 else None)

    def _arguments_of(self, name: str) -> Mapping[str, Any] | None:
        """The training arguments of this or another checkpoint, complete or not."""
        for other in self._run.checkpoints:
            if other.name == name:
                found = other.optional("early_arguments")
                return None if found is None or isinstance(found, Damage) else found.values
        return None

    @property
    def complete(self) -> bool:
        """Whether it could be listed and was written to the end."""
        found = self.optional("completeness")
        return found is not None and found.state is CheckpointState.COMPLETE

    @fact
    def files(self) -> Mapping[str, File]:
        """Files by path relative to the checkpoint. Not there for an incomplete checkpoint: it has one finding."""
        if self.completeness.state is not CheckpointState.COMPLETE:
            raise NotApplicable(f"the checkpoint is {self.completeness.state}")
        return self._every_file

    @fact
    def _every_file(self) -> Mapping[str, File]:
        arguments = self._run.backend.arguments_file
        return {
            path: File(
                self._run.storage, path, entry, self._run.depth == "full", path == arguments, self._run.allowance
            )
            for path, entry in self.entries.items()
            if entry.kind != DIRECTORY
        }

    @fact
    def layout(self) -> Layout:
        """Which file plays which part, and which files the configuration owes."""
        files = self.files
        document = self.optional("state_document")
        arguments = self.optional("arguments")
        visible = {path: entry for path, entry in self.entries.items() if entry.kind == DIRECTORY or path in files}
        return self._run.backend.layout(visible, arguments, document.document if document else None)

    def file(self, path: str | None, role: str = "file") -> File:
        """Return the file at ``path``. Raises NotApplicable where there is none."""
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

        A placeholder, or a directory that cannot be listed: what lies in it is unknown, not missing.
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

    @fact
    def damages(self) -> tuple[tuple[File, Damage], ...]:
        """Every file that could not be read, with the reason; the integrity rules report them."""
        found = []
        for file in self.files.values():
            if not file.readable:
                continue
            content = self.content(file)
            if isinstance(content, Damage):
                found.append((file, content))
        return tuple(found)

    def content(self, file: File) -> Any:
        """Contents or Damage of a file by its role, so that each is parsed once and by its own reader."""
        backend = self._run.backend
        if file.path == backend.state_file:
            return self._run.state_of(self)
        if file.path == backend.arguments_file:
            return self._arguments_or_damage
        if file.format == FileFormat.JSON and file.entry.size > JSON_CHECKED:
            if file.path in self._documents:
                return file.document
            if file.entry.size > JSON_QUICK and self._run.depth == "quick":
                return None
        return file.content

    @fact
    def _documents(self) -> frozenset[str]:
        """The JSON files whose document a resume needs, however large they are."""
        layout = self.optional("layout")
        if layout is None:
            return frozenset()
        configs = [adapter.config for adapter in layout.adapters]
        return frozenset(path for path in (layout.shard_index, *configs) if path)

    # -- what the trainer recorded ------------------------------------------------------------------------------

    @fact
    def state_document(self) -> "StateDocument":
        """The trainer state as it stands in the file, valid or not (``problems`` says what is wrong)."""
        self.file(self._run.backend.state_file, "trainer state")
        found = self._run.state_of(self)
        if isinstance(found, Damage):
            raise NotApplicable(f"{self._run.backend.state_file} {found.message}")
        return found

    @fact
    def state(self) -> "TrainerState":
        """The trainer state with checked types."""
        document = self.state_document
        if document.state is None:
            raise NotApplicable(f"{self._run.backend.state_file} has the wrong shape")
        return document.state

    @property
    def best_recorded(self) -> str | None:
        """Name of the directory that the trainer recorded as the best checkpoint, None if there is none or no state.

        Only the last part of ``best_model_checkpoint``, a path on any system: trees get moved.
        """
        state: TrainerState | None = self.optional("state")
        path = (state.best_model_checkpoint if state is not None else None) or ""
        return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or None

    @fact
    def history(self) -> "History":
        """``log_history``: all entries, and those that the previous checkpoint of the lineage did not have."""
        document = self.state_document
        if document.history is None:
            raise NotApplicable("log_history is not a list of objects")
        return document.history

    @fact
    def _arguments_or_damage(self) -> "TrainingArguments | Damage":
        self.file(self._run.backend.arguments_file, "training arguments")
        return self.early_arguments

    @fact
    def early_arguments(self) -> "TrainingArguments | Damage":
        """The training arguments, also of a checkpoint that is not written to its end: they are written early."""
        path = self._run.backend.arguments_file
        if path not in self._every_file:
            raise NotApplicable("there are no training arguments")
        return self._every_file[path].arguments

    @fact
    def training_arguments(self) -> "TrainingArguments":
        """Class, plain values and pickle names of ``training_args.bin``."""
        found = self._arguments_or_damage
        if isinstance(found, Damage):
            raise NotApplicable(f"{self._run.backend.arguments_file} {found.message}")
        return found

    @fact
    def arguments(self) -> Mapping[str, Any]:
        """The training arguments as plain values (enums as their value strings)."""
        return self.training_arguments.values

    # -- optimizer, scheduler, scaler, random numbers -----------------------------------------------------------

    @fact
    def optimizer(self) -> "OptimizerState":
        """Groups, steps and moments of ``optimizer.pt``."""
        from audit.formats.optimizer import optimizer_in

        return self._state_in(self.layout.optimizer, "optimizer state", optimizer_in)  # type: ignore[no-any-return]

    @fact
    def updates(self) -> float | None:
        """How many updates the optimizer counted for the parameter it updated most; None if it counts none.

        The highest count speaks: parameters that were unfrozen later, and experts seldom used, have lower ones.
        """
        return self.optimizer.highest_step

    @fact
    def scheduler(self) -> "SchedulerState":
        """Position and rates of ``scheduler.pt``."""
        from audit.formats.scheduler import scheduler_in

        return self._state_in(self.layout.scheduler, "scheduler state", scheduler_in)  # type: ignore[no-any-return]

    @fact
    def scaler(self) -> "ScalerState":
        """Scale of the fp16 gradient scaler."""
        from audit.formats.scheduler import scaler_in

        return self._state_in(self.layout.scaler, "gradient scaler state", scaler_in)  # type: ignore[no-any-return]

    @fact
    def rng(self) -> "Mapping[str, RngState]":
        """Random number states by file, those that could be read."""
        from audit.formats.rng import rng_in

        if not self.layout.rng:
            raise NotApplicable("there is no random number state")
        archives = {path: self.files[path].content for path in self.layout.rng}
        found = {path: rng_in(item) for path, item in archives.items() if not isinstance(item, Damage)}
        return {path: state for path, state in found.items() if not isinstance(state, Damage)}

    def _state_in(self, path: str | None, role: str, taken_from: "Callable[[TorchArchive], Any]") -> Any:
        found = taken_from(self.file(path, role).archive)
        if isinstance(found, Damage):
            raise NotApplicable(f"{path} {found.message}")
        return found

    def forget(self) -> None:
        """Drop what was parsed of large files, and keep what was concluded from it.

        An audit of many checkpoints holds the states of a few at a time.
        """
        if "optimizer" in self.__dict__.get("_facts", {}):
            self.optional("updates")
        self.drop("optimizer", "rng", "weights", "adapters")
        for file in (self.optional("_every_file") or {}).values():
            if file.heavy:
                self.drop("scheduler", "scaler")
            file.forget()

    # -- weights ------------------------------------------------------------------------------------------------

    @fact
    def weights(self) -> tuple[WeightFile, ...]:
        """The files with weights that the trainer would load, adapters included, each with its tensors."""
        paths = dict.fromkeys(
            [*self.layout.weights, *(adapter.weights for adapter in self.layout.adapters if adapter.weights)]
        )
        if not paths:
            raise NotApplicable("there are no weights in a format that is read")
        return tuple(WeightFile(path, self._tensors(path)) for path in paths)

    def _tensors(self, path: str) -> Mapping[str, Tensor]:
        file = self.file(path, "weights")
        if file.format == FileFormat.SAFETENSORS:
            return file.safetensors.tensors
        if file.format == FileFormat.TORCH:
            from audit.formats.torch_archive import tensors

            return tensors(file.archive)
        raise NotApplicable(f"{path} is not a format that is read")

    @fact
    def adapters(self) -> tuple[Adapter, ...]:
        """The PEFT adapters whose configuration and weights could both be read."""
        found = []
        for files in self.layout.adapters:
            if files.config is None or files.weights is None:
                continue
            config = self.file(files.config, "adapter configuration").optional("value")
            if isinstance(config, dict):
                try:
                    found.append(Adapter(files, config, self._tensors(files.weights)))
                except NotApplicable:
                    continue
        if not found:
            raise NotApplicable("there is no adapter that could be read")
        return tuple(found)

    def needs(self, file: File) -> bool:
        """Whether a resume reads this file, or nobody can say: a stray one may be damaged, and is sealed as it is."""
        layout = self.optional("layout")
        return layout is None or file.path in layout.read_by_resume

    def holds_weights(self, file: File) -> bool:
        """Whether the trainer would load weights from this file."""
        layout = self.optional("layout")
        return bool(layout and file.path in (*layout.weights, *(adapter.weights for adapter in layout.adapters)))

    # -- what should not be there -------------------------------------------------------------------------------

    @fact
    def secrets(self) -> tuple[tuple[str, str, str], ...]:
        """What looks like a token or key in clear text: (file, where in it, secret); see :mod:`audit.facts.secrets`."""
        from audit.facts.secrets import secrets_in

        found = self.optional("state_document")
        document = found.document if found is not None else None
        arguments, files = self.optional("arguments") or {}, self.optional("files") or {}
        return tuple(secrets_in(self._run.backend, arguments, document, files))

    # -- every byte ---------------------------------------------------------------------------------------------

    @fact
    def scan(self) -> "Mapping[str, FileScan]":
        """The full-depth scan by file. Not there at ``--depth quick``."""
        if self._run.depth == "quick":
            raise NotApplicable("needs --depth full")
        _ = self.files
        return self._run.scans_of(self)

    @fact
    def seal(self) -> "Seal":
        """Its digests as the ledger has them. Not there where it was saved anew since."""
        seal = self._run.records.seals.get(self.name)
        if seal is None:
            raise NotApplicable("it was never sealed")
        # Nobody trains in a snapshot: one that changed shares its bytes with a run (a hard link) that saved the step
        # anew.
        if not self._run.records.snapshot and self._saved_anew(seal):
            raise NotApplicable("it was saved anew after it was sealed")
        return seal

    def _saved_anew(self, seal: "Seal") -> bool:
        """Whether the trainer wrote this step again, as it does after going back to an earlier checkpoint.

        Then every file is younger than all that were sealed, and the trainer state, which holds the log, is another
        one. Damage and edits leave most files as they were; a copy has new times, but the same state. If the ledger
        says that a leg began before this step since, the state may be the same to the bit: it was trained again. In a
        run whose legs are recorded nothing else trains: without such a leg it was trained elsewhere and copied over.
        """
        entries = [self.entries[path] for path in seal.files if path in self.entries]
        if not entries or any(entry.mtime_ns <= seal.newest for entry in entries):
            return False
        if seal.passed:
            return True
        return not self._run.records.batches.legs and self._other_state(seal)

    @property
    def state_replaced(self) -> bool:
        """Whether its trainer state is not the sealed one: its log then says nothing of the run that was sealed.

        By the size, and by the digest of a file that is younger than the seal.
        """
        seal = self.optional("seal")
        entry = self.entries.get(self._run.backend.state_file)
        sealed = seal.files.get(self._run.backend.state_file) if seal is not None else None
        if seal is None or sealed is None or entry is None:
            return False
        return entry.size != sealed.size or (entry.mtime_ns > seal.newest and self._other_state(seal))

    def _other_state(self, seal: "Seal") -> bool:
        """Whether the trainer state was read and is not the sealed one."""
        state = self._run.backend.state_file
        if state not in seal.files or state not in self.entries:
            return False
        sealed = seal.files[state]
        if self.entries[state].size != sealed.size:
            return True
        scan = (self.optional("scan") or {}).get(state)
        if scan is not None:
            return not scan.error and scan.digest != sealed.digest
        digest = self.optional("files") and self.files[state].optional("digest")
        return digest is not None and digest != sealed.digest

    # -- neighbours ---------------------------------------------------------------------------------------------

    @fact
    def neighbours(self) -> "tuple[Checkpoint | None, Checkpoint | None]":
        """The judged checkpoints right before and after this one, by step, whatever their lineage; None at an end."""
        judged = self._run.judged
        place = bisect_left(judged, (self.step, self.name), key=lambda item: (item.step, item.name))
        here = place < len(judged) and judged[place] is self
        after = place + 1 if here else place
        return (judged[place - 1] if place else None, judged[after] if after < len(judged) else None)

    @fact
    def session(self) -> "SessionFacts":
        """The training session that wrote it. Not there if its arguments could not be read."""
        return self._run.session_of(self)

    def with_same_bytes(self, path: str, *, older: bool = False) -> "tuple[Checkpoint, ...]":
        """The judged checkpoints whose file ``path`` has the same bytes, by step, this one among them.

        With ``older`` only those of earlier steps, and no later one is read for the answer.
        """
        with self.watch.paused() if self.watch is not None else nullcontext():
            digest = self._run.digests_of(self).get(path)
            below = self.step if older else None
            found = self._run.with_same_bytes(path, digest, below) if digest else ()
        if self.watch is not None and self.watch.seen is not None:
            self.watch.seen.update({self.name, f"{self.name}!{OLDER_BYTES if older else BYTES}:{path}"})
            self.watch.seen.update(item.name for item in found)
        return found

    @fact
    def previous(self) -> "Checkpoint":
        """The checkpoint before this one in the same lineage (one uninterrupted history)."""
        before = self._run.before(self)
        if before is None:
            raise NotApplicable("there is no earlier checkpoint of this lineage")
        return before

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.size for entry in self.entries.values() if entry.kind == FILE)
