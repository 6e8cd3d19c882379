"""The facts of one checkpoint, read lazily and once.

Every public attribute marked ``fact`` may be a parameter of a rule; those that need only the checkpoint's own files are
in :mod:`audit.facts.directory` and :mod:`audit.facts.recorded`. A fact that does not exist or could not be read raises
NotApplicable with the reason; ``checkpoint.optional("scaler")`` gives None instead.
"""

from bisect import bisect_left
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from audit.backend.protocol import last_in, last_written
from audit.errors import NotApplicable
from audit.facts.directory import RunFiles
from audit.facts.fact import fact
from audit.facts.recorded import Recorded

if TYPE_CHECKING:
    from audit.facts.exchanged import Exchange
    from audit.facts.unread import Unread
    from audit.ledger.records import Records
    from audit.ledger.seals import Seal
    from audit.scan import FileScan


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
    def usual_adapters(self) -> frozenset[str]:
        """The directories in which at least half of the members have an adapter: it was not added to some later."""
        ...

    @property
    def scaler(self) -> str | None:
        """The file of the gradient scaler in the first member that has one."""
        ...


ANYTHING = "*"
"""Noted for a rule that looked at the run itself."""
BASE, SEAL, PREVIOUS, NEIGHBOURS, SESSION = "base", "seal", "previous", "neighbours", "session"
BYTES, OLDER_BYTES, MEMBERS = "bytes", "older bytes", "members"
BEYOND = {
    "history": BASE, "state_document": BASE, "seal": SEAL, "previous": PREVIOUS, "neighbours": NEIGHBOURS,
    "session": SESSION, "left_places": PREVIOUS, "exchanged": PREVIOUS,
}  # fmt: skip
"""Facts that depend on more than the files of their checkpoint, and on what; see :mod:`audit.judging.outcomes`."""
LOOKING_BACK = frozenset({"left_places", "exchanged"})
"""Facts that look at the checkpoint before; the second, if they differ, at its seal and at the one before that, too."""


class RunFacts(RunFiles, Protocol):
    """What a checkpoint, and rules over one checkpoint, use of its run; :class:`audit.facts.run.Run` provides it."""

    @property
    def records(self) -> "Records":
        """What the run's ledger said when the audit began."""
        ...

    @property
    def found_blocked(self) -> frozenset[str]:
        """Checkpoints that are blocked by what a look at every byte found before, and that are as they were then."""
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

    def forget_scans(self, checkpoint: "Checkpoint") -> None:
        """Keep the scans of a checkpoint as short as the ledger does."""
        ...

    def digests_of(self, checkpoint: "Checkpoint") -> Mapping[str, str]:
        """The digests of the files of a judged checkpoint that could be read."""
        ...

    def with_same_bytes(self, path: str, digest: str, below: int | None = None) -> "tuple[Checkpoint, ...]":
        """The judged checkpoints whose file ``path`` has this digest, by step; only steps ``below``, if given."""
        ...

    def way_back(
        self, first: "Checkpoint", before: "Checkpoint", after: "Checkpoint", only: frozenset[str] = frozenset()
    ) -> float | None:
        """How much of the way from ``before`` back to ``first`` the weights went; see :mod:`audit.facts.way_back`."""
        ...

    def optional(self, name: str) -> Any:
        """A fact of the run, None if it is not there."""
        ...


class Checkpoint(Recorded):
    """One ``checkpoint-N`` of a run; ``entries`` are keyed by path relative to it, directories included."""

    _run: RunFacts

    @property
    def run(self) -> RunFacts:
        """Its run. The outcome of a rule that asks for it is not remembered: it may depend on anything."""
        if self.watch is not None and self.watch.seen is not None:
            self.watch.seen.add(ANYTHING)
        return self._run

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
        if name in LOOKING_BACK:
            before = self.optional("previous")
            if name == "exchanged" and before is not None and self.optional("left_places"):
                before.optional("seal")
                before.optional("previous")

    @property
    def other_program(self) -> str | None:
        """What saved it in words if no checkpoint of the run has a trainer state, None if one has.

        One checkpoint alone, in a layout that is not known, may as well be an interrupted save.
        """
        from audit.facts.traces import layout_of

        there = self.run.listing
        if any(last_in(self.backend, entries) for entries in (there.entries, *there.inside.values())):
            return None
        known = layout_of(self.entries)
        return known or ("a checkpoint of another program than the trainer" if len(there.inside) > 1 else None)

    # -- every byte ---------------------------------------------------------------------------------------------

    @fact
    def scan(self) -> "Mapping[str, FileScan]":
        """The full-depth scan by file. Not there at ``--depth quick``."""
        if self._run.depth == "quick":
            raise NotApplicable("needs --depth full")
        self.refuse_incomplete()
        return self._run.scans_of(self)

    @fact
    def unread(self) -> "Mapping[str, Unread]":
        """What a resume reads and was not read, by path, with the reason: then the checkpoint is *not judged*."""
        from audit.facts.unread import unread_of

        return unread_of(self, self.scan if self._run.depth == "full" else None)

    @property
    def unread_in_words(self) -> str:
        """What was not read: ``6 files that a resume reads were not read, first optimizer_0/.metadata``; or ""."""
        unread = self.optional("unread")
        if not unread:
            return ""
        first = next(iter(unread))
        if len(unread) == 1:
            return f"{first}, which a resume reads, was not read"
        return f"{len(unread)} files that a resume reads were not read, first {first}"

    def forget(self) -> None:
        """Drop what was parsed of large files, and keep what was concluded from it, whether all was read as well."""
        self.optional("unread")
        super().forget()
        self._run.forget_scans(self)

    @fact
    def seal(self) -> "Seal":
        """Its digests as the ledger has them. Not there if it was saved anew since."""
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
        if self._run.clock.times is None:  # nothing tells old files from new ones: no alarm over a step saved again
            return self._other_state(seal)
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
        younger = entry.mtime_ns > seal.newest or self._run.clock.times is None
        return entry.size != sealed.size or (younger and self._other_state(seal))

    def _other_state(self, seal: "Seal") -> bool:
        """Whether the file that a save writes last, as Trainer its state, was read and is not the sealed one.

        Or the step is another one: what DeepSpeed writes last is the tag's name, which under Lightning is always the
        same.
        """
        if seal.step != self.step:
            return True
        state = next((name for name in last_written(self.backend) if name in self.entries), "")
        if state not in seal.files:
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

    @property
    def is_as_sealed(self) -> bool:
        """Whether it is sealed, and every file was read and has the digest that was sealed."""
        seal = self.optional("seal")
        digests = self._run.digests_of(self)
        return seal is not None and all(digests.get(path) == file.digest for path, file in seal.files.items())

    @fact
    def left_places(self) -> "tuple[Exchange, ...]":
        """Parts of a sharded state that are in each other's place, seen from the checkpoint before."""
        from audit.facts.exchanged import exchanged_between

        if self._run.depth == "quick":
            raise NotApplicable("needs --depth full")
        return exchanged_between(self.previous, self)

    @fact
    def exchanged(self) -> "tuple[Exchange, ...]":
        """The same, if the one before is not the odd one: it is not, if it is as sealed, or like the one before it."""
        found = self.left_places
        before = self.previous
        if not found or before.is_as_sealed or not before.optional("left_places"):
            return found
        from audit.facts.exchanged import exchanged_between

        return exchanged_between(before.previous, self)

    @fact
    def previous(self) -> "Checkpoint":
        """The checkpoint before this one in the same lineage (one uninterrupted history)."""
        before = self._run.before(self)
        if before is None:
            raise NotApplicable("there is no earlier checkpoint of this lineage")
        return before
