"""The facts of one run as a whole: its lineages, sessions, boundaries and settings; and how a run is opened."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from audit.backend.protocol import Backend, only_steps_counted, unmistakable, writers_of
from audit.errors import AuditError, NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.fact import fact
from audit.facts.lineage import group
from audit.facts.listing import newest_inside
from audit.facts.place import Place, place_here
from audit.facts.scanned_run import ScannedRun
from audit.facts.session import Session, sessions_of
from audit.formats.damage import Damage
from audit.storage import DIRECTORY, Entry

if TYPE_CHECKING:
    from audit.facts.boundaries import Boundary
    from audit.formats.trainer_state import StateDocument
    from audit.ledger.seals import Seal
    from audit.ledger.timeline import Timeline


class Run(ScannedRun):
    """One output directory with its ``checkpoint-N``: its histories, and what is true of it as a whole."""

    def setting_aside(self, changed: frozenset[str]) -> "Run":
        """Return this run as it was listed, with these checkpoints set aside as in progress, and no other fact."""
        there = self.listing
        gone: dict[str, dict[str, Entry]] = {name: {} for name in there.homes if name not in there.inside}
        other = Run(
            self.path,
            self.storage,
            self.backend,
            depth=self.depth,
            jobs=self.jobs,
            only=tuple(self.only),
            progress=self._progress,
            records=self.records,
            listing=there._replace(inside={**there.inside, **gone}),
            unsettled=self.unsettled | changed,
        )
        other.clock = self.clock
        return other

    @fact
    def lineages(self) -> tuple[tuple[Checkpoint, ...], ...]:
        """Checkpoints grouped by history, each group by step: in a sound run there is one group.

        Groups come in the order of their last step; checkpoints without a readable history are in none, nor is one
        whose state is of another step than its name says (steps/directory-mismatch), that is not the one that was
        sealed (integrity/seal-broken), or that was given up (history/given-up). See :mod:`audit.facts.lineage`. A
        trainer that writes no log leaves nothing that could tell two histories apart: all its complete checkpoints are
        one group.
        """
        current = [item for item in self.checkpoints if item not in self.given_up]
        if not self.backend.state_file:
            complete = tuple(item for item in current if item.complete)
            return (complete,) if complete else ()
        return group(checkpoint for checkpoint in current if _of_its_step(checkpoint))

    @fact
    def given_up(self) -> tuple[Checkpoint, ...]:
        """Checkpoints that were given up when the run was taken back (`audit train --back-to`), and are in it again.

        Nothing in them is younger than their seal: a training that came to that step again has written new files.
        Until the going back is finished, what follows and was never sealed is given up as well.
        """
        known, seals, back = self.records.given_up, self.records.seals, self.records.batches.returning
        return tuple(
            item
            for item in self.checkpoints
            if (item.name in known and item.name in seals and _is_as_old_as(item, seals[item.name]))
            or (back is not None and item.step > back.step and item.name not in seals)
        )

    @fact
    def _places(self) -> Mapping[str, tuple[tuple[Checkpoint, ...], int]]:
        """Lineage and place in it of each checkpoint, by name."""
        return {item.name: (members, place) for members in self.lineages for place, item in enumerate(members)}

    def lineage_of(self, checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
        """The lineage of a checkpoint; nothing if it is in none."""
        return self._places.get(checkpoint.name, ((), 0))[0]

    def before(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """The checkpoint before this one in its lineage, None if it is the first or in none."""
        members, place = self._places.get(checkpoint.name, ((), 0))
        return members[place - 1] if place else None

    @fact
    def _sessions(self) -> Mapping[str, Session]:
        sessions = sessions_of(self.lineages, self.watch)
        return {member.name: session for session in sessions for member in session.members}

    def session_of(self, checkpoint: Checkpoint) -> Session:
        """The session that wrote a checkpoint. Raises NotApplicable if its arguments could not be read."""
        if checkpoint.name not in self._sessions:
            raise NotApplicable("which session wrote it is not known")
        return self._sessions[checkpoint.name]

    @fact
    def steps(self) -> frozenset[int]:
        """The steps of all checkpoints."""
        return frozenset(item.step for item in self.checkpoints)

    @fact
    def boundaries(self) -> "tuple[tuple[Boundary, ...], ...]":
        """Where each lineage was resumed, by the ledger and by the files; see :mod:`audit.facts.boundaries`."""
        from audit.facts.boundaries import boundaries_of

        return tuple(boundaries_of(lineage, self.records.batches) for lineage in self.lineages)

    @fact
    def _ways(self) -> dict[tuple[str, str, str, frozenset[str]], float | None]:
        return {}

    def way_back(
        self, first: Checkpoint, before: Checkpoint, after: Checkpoint, only: frozenset[str] = frozenset()
    ) -> float | None:
        """How much of the way from ``before`` back to ``first`` the weights went; see :mod:`audit.facts.way_back`."""
        from audit.facts.way_back import way_back

        key = first.name, before.name, after.name, only
        if key not in self._ways:
            self._ways[key] = way_back(first, before, after, only)
        return self._ways[key]

    @fact
    def batches(self) -> "Timeline":
        """The batches of `audit train`, as the ledger tells them; see :mod:`audit.ledger.timeline`."""
        if not self.records.batches.batches:
            raise NotApplicable("the ledger records no batch: `audit train` has not trained here")
        return self.records.batches

    @fact
    def newest(self) -> Checkpoint:
        """The complete checkpoint with the highest step, whose training arguments count for the run."""
        for checkpoint in reversed(self.checkpoints):
            if checkpoint.complete:
                return checkpoint
        raise NotApplicable("there is no complete checkpoint")

    @fact
    def foreign(self) -> str | None:
        """Say which other program wrote the checkpoints under the trainer's names, None if the trainer did.

        Every trainer state that can be read is then a manifest of that program; with one of the trainer among them the
        others are strays in its run.
        """
        states = [item for item in self._states.values() if not isinstance(item, Damage)]
        if not states or all(item.history is not None for item in states):
            return None
        from audit.facts.other_trainers import foreign_state

        said = [foreign_state(item) for item in states]
        if not all(said):
            return None
        name = self.checkpoints[-1].name
        return f"{name} is a checkpoint of {said[-1]}; no backend reads it: resume with the program that saved it"

    @fact
    def root_state(self) -> "StateDocument":
        """The trainer state in the run's root, which ``save_state()`` leaves, on the newest history if possible."""
        from audit.facts.file import File
        from audit.formats.trainer_state import read_trainer_state

        name = self.backend.state_file
        if name not in self.entries:
            raise NotApplicable("there is no trainer state in the run's root")
        found = File(self.storage, name, self.entries[name]).read(read_trainer_state, (self.newest.history,))
        if isinstance(found, Damage):
            raise NotApplicable(f"{name} in the run's root {found.message}")
        return cast("StateDocument", found)

    @fact
    def final_model(self) -> bool:
        """Whether ``save_model()`` wrote the model into the run's root at the end; its weights may be elsewhere."""
        files = {name: entry for name, entry in self.entries.items() if entry.kind != DIRECTORY}
        layout = self.backend.layout(files, None, None)
        return bool(layout.weights or layout.shard_index or layout.sharded_weights or layout.arguments)

    @fact
    def arguments(self) -> Mapping[str, Any]:
        """The training arguments of the newest complete checkpoint."""
        return self.newest.arguments

    @fact
    def save_total_limit(self) -> int:
        """``save_total_limit`` of the newest complete checkpoint."""
        limit = self.arguments.get("save_total_limit")
        if not isinstance(limit, int) or limit < 1:
            raise NotApplicable("save_total_limit is not set")
        return limit

    @fact
    def best_elsewhere(self) -> str | None:
        """Where the best checkpoint is according to the newest one, if that is there and not inside this run.

        The only path that is looked at outside the run: whether there is such a directory, nothing more. None for a
        relative path, which depends on where the trainer is started.
        """
        if self.storage.root is None:
            raise NotApplicable("the run is not on this machine")
        best = self.newest.state.best_model_checkpoint
        if not best or not os.path.isabs(best) or not os.path.isdir(best):
            return None
        own, there = os.path.realpath(self.path), os.path.realpath(best)
        if os.path.commonpath([own, there]) == own:
            return None
        try:  # the same directory by another name, as of a second mount
            same = os.path.samefile(os.path.dirname(there), own)
        except OSError:
            same = False
        return None if same else best


def _of_its_step(checkpoint: Checkpoint) -> bool:
    state = checkpoint.optional("state")
    if checkpoint.optional("history") is None or (state is not None and state.global_step != checkpoint.step):
        return False
    return not checkpoint.state_replaced


def _is_as_old_as(checkpoint: Checkpoint, seal: "Seal") -> bool:
    return all(entry.mtime_ns <= seal.newest for path, entry in checkpoint.entries.items() if path in seal.files)


def open_run(path: str | Place, backends: Sequence[Backend], **options: Any) -> Run:
    """Open a run with the backend that recognises it: a directory of this machine, or any :class:`Place`.

    Raises AuditError: no such directory, not listable, claimed by two backends. A run that no backend recognises
    is opened with the first one that needs no look inside; the caller sees from ``checkpoints`` that it is empty.
    """
    place = path if isinstance(path, Place) else place_here(path)
    path, only, storage = place.root, place.only, place.storage
    try:
        entries = {entry.name: entry for entry in storage.list("")}
    except OSError as error:
        raise AuditError(f"{path}: cannot be listed: {error.strerror or error}") from error
    claims: Sequence[Backend] = [backend for backend in backends if backend.recognises(entries)]
    claims = writers_of(claims, (inside.entries for _, inside in newest_inside(storage, entries, claims)))
    if len(claims) > 1:
        names = " and ".join(backend.name for backend in claims)
        raise AuditError(f"{path}: both {names} claim this run; name one with --backend")
    if not claims and not backends:
        raise AuditError("no trainer backend is installed; reinstall checkpoint-audit")
    backend = (claims or sorted(backends, key=unmistakable, reverse=True))[0]
    run = Run(path, storage, backend, only=only, **options)
    if not only_steps_counted(backend):
        from audit.facts.one_count import in_one_count

        listing = in_one_count(run)
        if listing is not None:
            return Run(path, storage, backend, only=only, listing=listing, **options)
    return run


__all__ = ["Run", "open_run"]
