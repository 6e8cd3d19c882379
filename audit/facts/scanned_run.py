"""The checkpoints of one run and their contents: their trainer states, and the scan of every byte.

The bytes are read in one pass at most; scans of an earlier audit count while the files have not changed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from audit.backend.protocol import Backend
from audit.errors import NotApplicable
from audit.facts.allowance import Allowance
from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import Clock
from audit.facts.fact import Facts, Watch, fact
from audit.facts.listing import Listing, list_run
from audit.facts.shared import Shared
from audit.facts.trainer_states import KnownState, TrainerStates
from audit.formats.damage import Damage
from audit.ledger.records import Records
from audit.ledger.scans import RememberedScans, is_stamp_of, scan_from, scan_text, stamp_of
from audit.options import SETTLE_SECONDS
from audit.storage import Entry, Storage

if TYPE_CHECKING:
    from audit.formats.trainer_state import StateDocument
    from audit.scan import FileScan, Span


class Memory(Protocol):
    """What is to be remembered of a judgement; :class:`audit.judging.outcomes.Outcomes` provides it."""

    @property
    def program(self) -> str:
        """Digest of the program that judges."""
        ...

    def text_of(self, checkpoint: Checkpoint) -> tuple[str, str] | None:
        """Return (stamp, text) of a sealed checkpoint, None if it is remembered already."""
        ...


class _ByBytes(NamedTuple):
    """The first judged checkpoints, as many as were ``seen``, by (file, digest)."""

    seen: list[Checkpoint]
    holders: dict[tuple[str, str], list[Checkpoint]]


class ScannedRun(Facts):
    """One output directory with its ``checkpoint-N``, and their bytes.

    ``only`` restricts the checkpoints that are judged to these names; the others still serve as neighbours.
    """

    def __init__(
        self,
        path: str,
        storage: Storage,
        backend: Backend,
        *,
        depth: str = "full",
        jobs: int = 2,
        settle_seconds: float = SETTLE_SECONDS,
        only: Sequence[str] = (),
        progress: Callable[[int, int], None] | None = None,
        now_ns: int | None = None,
        records: Records | None = None,
        listing: Listing | None = None,
        unsettled: frozenset[str] = frozenset(),
    ) -> None:
        self.path = path
        self.storage = storage
        self.backend = backend
        self.depth = depth
        self.jobs = jobs
        self.clock = Clock(time.time_ns() if now_ns is None else now_ns, int(settle_seconds * 1e9), storage.times)
        self.only = frozenset(only)
        self._progress = progress
        self.watch = Watch()
        self.memory: Memory | None = None
        self.found_blocked: frozenset[str] = frozenset()
        """Checkpoints that are blocked by what a look at every byte found before, and that are as they were then."""
        self._given: dict[str, Mapping[str, str]] = {}
        self._known_states: dict[str, KnownState] = {}
        self._scanned: dict[str, Mapping[str, FileScan]] = {}
        self._digests: dict[str, Mapping[str, str]] = {}
        self._by_bytes = _ByBytes([], {})
        self.stamps: dict[tuple[str, str], str] = {}
        """What must stay the same for the scan of a file to hold, by (checkpoint, file); filled by the scan."""
        self.records = records or Records()
        self._given_listing = listing
        self.allowance = Allowance()
        """The memory for the contents of its files."""
        self.shared = Shared()
        """What its checkpoints have in common."""
        self.unsettled = unsettled
        """Checkpoints that changed while they were read: nothing is known of them; see audit.judging.at_rest."""
        self.known_scans: Mapping[tuple[str, str], tuple[Entry, FileScan]] = {}
        """Scans of this audit's earlier passes, with the entries as they were; valid while the entry is the same."""

    @fact
    def listing(self) -> Listing:
        """What is in the run and in its checkpoints. Raises AuditError if the run cannot be listed."""
        return self._given_listing or list_run(self.path, self.storage, self.backend)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is in the run's root, by name."""
        return self.listing.entries

    def entry_of(self, name: str) -> Entry:
        """The entry of a checkpoint in the run's root."""
        return self.listing.entries[name]

    @property
    def homes(self) -> Mapping[str, int]:
        """The step of every checkpoint's directory in the run's root, by name."""
        return self.listing.homes

    @property
    def unlistable(self) -> frozenset[str]:
        """Directories that the operating system does not let us list, relative to the run."""
        return self.listing.unlistable

    @property
    def overfull(self) -> frozenset[str]:
        """Names of checkpoints with more entries or levels than any real one; the rest was not looked at."""
        return self.listing.overfull

    @fact
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints, by step."""
        there = self.listing
        return tuple(Checkpoint(self, name, there.homes[name], there.inside[name]) for name in there.by_step)

    @property
    def highest(self) -> int:
        """The highest step of a checkpoint's directory, 0 if there is none."""
        return max(self.homes.values(), default=0)

    @fact
    def judged(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that rules are applied to."""
        return tuple(item for item in self.checkpoints if not self.only or item.name in self.only)

    # -- trainer states -----------------------------------------------------------------------------------------

    @fact
    def _states(self) -> "Mapping[str, StateDocument | Damage]":
        """Trainer states of all complete checkpoints, by name."""
        file = self.backend.state_file
        return TrainerStates(file, self.allowance, self.shared, self._known_states, self._state_digests).of(
            self.checkpoints
        )

    def give_state(self, checkpoint: Checkpoint, state: KnownState) -> None:
        """Take what is remembered of a trainer state whose file is the same, so that it need not be read."""
        self._known_states[checkpoint.name] = state

    @property
    def _state_digests(self) -> Mapping[str, str]:
        file = self.backend.state_file
        return {name: digests[file] for name, digests in self._given.items() if file in digests}

    def arguments_of(self, name: str) -> Mapping[str, Any] | None:
        """The training arguments of a checkpoint, complete or not; None if they could not be read."""
        for checkpoint in self.checkpoints:
            if checkpoint.name == name:
                found = checkpoint.optional("early_arguments")
                return None if found is None or isinstance(found, Damage) else found.values
        return None

    def state_of(self, name: str) -> "StateDocument | Damage":
        """The trainer state of a checkpoint or its Damage. Raises NotApplicable if there is no such file."""
        if name not in self._states:
            raise NotApplicable("there is no trainer state")
        return self._states[name]

    # -- every byte ---------------------------------------------------------------------------------------------

    @fact
    def scans(self) -> "Mapping[tuple[str, str], FileScan]":
        """The scan of every byte of every judged, complete checkpoint, by (checkpoint, file)."""
        return {
            (checkpoint.name, path): found
            for checkpoint in self.judged
            for path, found in self.scans_of(checkpoint).items()
        }

    def scans_of(self, checkpoint: Checkpoint) -> "Mapping[str, FileScan]":
        """One pass over every byte of a judged, complete checkpoint, by file; nothing of another one.

        One checkpoint after the other, so that what was parsed of one can be dropped before the next.
        """
        if checkpoint.name not in self._scanned:
            there = checkpoint.optional("files") and (not self.only or checkpoint.name in self.only)
            self._scanned[checkpoint.name] = self._scan(checkpoint) if there else {}
        return self._scanned[checkpoint.name]

    def _scan(self, checkpoint: Checkpoint) -> "Mapping[str, FileScan]":
        from audit.facts.spans import spans_of
        from audit.scan import ScanJob, scan_files

        jobs = []
        known: dict[str, FileScan] = {}
        for path, file in checkpoint.files.items():
            if not file.readable or file.entry.sparse:
                continue
            if isinstance(checkpoint.content(file), Damage) and checkpoint.needs(file):
                continue  # the checkpoint is broken, whatever else is in the file
            key = (checkpoint.name, path)
            spans = spans_of(file, checkpoint.holds_weights(file)) or _shard_spans(checkpoint, path)
            self.stamps[key] = stamp_of(file.entry, spans)
            before = self.known_scans.get(key)
            if before is not None and before[0] == file.entry:
                known[path] = before[1]
            elif (remembered := self._remembered(key, file.entry, spans)) is not None:
                known[path] = remembered
            else:
                jobs.append(ScanJob(key, file.open, file.entry.size, spans))
        if not jobs:
            return known
        found = scan_files(jobs, threads=self.jobs, progress=self._advance)
        return known | {cast("tuple[str, str]", key)[1]: scan for key, scan in found.items()}

    @fact
    def _advance(self) -> Callable[[int], None] | None:
        """What hears of each block that was read; the sum of all is what is expected to be read."""
        report = self._progress
        if report is None:
            return None
        files = [
            ((checkpoint.name, path), file.entry)
            for checkpoint in self.judged
            for path, file in (checkpoint.optional("files") or {}).items()
            if file.readable and not file.entry.sparse
        ]
        total = sum(entry.size for key, entry in files if not self._seems_known(key, entry))
        return lambda count: report(count, total)

    def _seems_known(self, key: tuple[str, str], entry: Entry) -> bool:
        before = self.known_scans.get(key)
        remembered = self.records.scans.get(key)
        return (before is not None and before[0] == entry) or (
            remembered is not None and is_stamp_of(remembered[0], entry)
        )

    def with_same_bytes(self, path: str, digest: str, below: int | None = None) -> tuple[Checkpoint, ...]:
        """The judged checkpoints whose file ``path`` has this digest, by step; those of steps ``below`` alone if given.

        No other checkpoint is read for the answer.
        """
        while len(self._by_bytes.seen) < len(self.judged):
            item = self.judged[len(self._by_bytes.seen)]
            if below is not None and item.step >= below:
                break
            self._by_bytes.seen.append(item)
            for name, found in self.digests_of(item).items():
                self._by_bytes.holders.setdefault((name, found), []).append(item)
        holders = self._by_bytes.holders.get((path, digest), ())
        return tuple(item for item in holders if below is None or item.step < below)

    def digests_of(self, checkpoint: Checkpoint) -> Mapping[str, str]:
        """The digests of the files of a judged checkpoint that could be read."""
        if checkpoint.name in self._given:
            return self._given[checkpoint.name]
        if checkpoint.name not in self._digests:
            scans = self.scans_of(checkpoint).items()
            self._digests[checkpoint.name] = {path: scan.digest for path, scan in scans if not scan.error}
        return self._digests[checkpoint.name]

    def forget_scans(self, checkpoint: Checkpoint) -> None:
        """Keep the scans of a checkpoint as the text by which the ledger remembers them, a tenth of the memory."""
        scans = self._scanned.get(checkpoint.name)
        if isinstance(scans, RememberedScans):
            scans.forget()
            return
        if not scans:
            return
        self.digests_of(checkpoint)
        self._scanned[checkpoint.name] = RememberedScans.of(scans)

    def give_scans(self, checkpoint: Checkpoint, digests: Mapping[str, str]) -> None:
        """Take the remembered scans of a checkpoint for what they are, without looking into its files.

        The caller knows that they are of these files and of these parts of them. ``digests`` by file.
        """
        name = checkpoint.name
        self._given[name] = digests
        texts = {path: self.records.scans[name, path] for path in digests}
        self.stamps.update({(name, path): stamp for path, (stamp, _) in texts.items()})
        self._scanned[name] = RememberedScans({path: text for path, (_, text) in texts.items()})

    def scan_text_of(self, checkpoint: Checkpoint, path: str) -> str:
        """The text by which the scan of a file is remembered."""
        if checkpoint.name in self._given:
            return self.records.scans[checkpoint.name, path][1]
        scans = self.scans_of(checkpoint)
        return scans.text_of(path) if isinstance(scans, RememberedScans) else scan_text(scans[path])

    def was_read(self, checkpoint: Checkpoint) -> bool:
        """Whether anything of a judged checkpoint was read for its scan in this audit."""
        return checkpoint.name not in self._given and self._bytes_of(checkpoint) > 0

    def _bytes_of(self, checkpoint: Checkpoint) -> int:
        scans = self.scans_of(checkpoint)
        if isinstance(scans, RememberedScans):
            return scans.bytes_read
        return sum(scan.bytes_read for scan in scans.values())

    @property
    def bytes_scanned(self) -> int:
        """Bytes that were read for the scan of all judged checkpoints."""
        new = (item for item in self.judged if item.name not in self._given)
        return sum(map(self._bytes_of, new))

    def _remembered(self, key: tuple[str, str], entry: Entry, spans: "Sequence[Span]") -> "FileScan | None":
        """The scan of a sealed checkpoint's file that has not changed since, so that it need not be read again."""
        if key not in self.records.scans:
            return None
        stamp, text = self.records.scans[key]
        if stamp != self.stamps[key]:
            return None
        found = scan_from(text, spans)
        return found if found is not None and found.size == entry.size else None


def _shard_spans(checkpoint: Checkpoint, path: str) -> "list[Span]":
    """The spans of a shard file, as the metadata beside it describes them."""
    if not path.endswith(".distcp") or not (states := checkpoint.optional("shards")):
        return []
    from audit.facts.shards import spans_in

    return spans_in(states, path)
