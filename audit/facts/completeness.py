"""Whether a checkpoint was written to its end, and if not, what its trainer is doing with it right now.

Every trainer writes one file last: Trainer ``trainer_state.json``, and it deletes old checkpoints right after it. Two
things do not fit into that: the other processes of a distributed training write their random states whenever they get
there, and a deletion takes its time. Both are short; a checkpoint whose youngest file is older than the settle time is
judged as it is.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from audit.backend.protocol import Backend, announced_in, last_in, last_written, saves_over
from audit.facts.file import PLACEHOLDER_SUFFIXES
from audit.facts.listing import Listing
from audit.storage import FILE, TRAINER, UPLOAD, Entry

SENTINEL = "checkpoint-is-incomplete.txt"
"""Trainer 5.x, trainer_jit_checkpoint.py: written first, removed last, read by nobody."""

TICK_NS = 20_000_000
"""Nanoseconds. Times of files come from a clock that ticks every 1 to 10 milliseconds."""

ArgumentsOf = Callable[[str], Mapping[str, Any] | None]
"""The training arguments of a checkpoint by its name, complete or not; None if they cannot be read."""


class CheckpointState(StrEnum):
    """What can be said of a checkpoint as a whole."""

    COMPLETE = "complete"
    IN_PROGRESS = "in progress"
    BEING_DELETED = "being deleted"
    INCOMPLETE = "incomplete"

    @property
    def moving(self) -> bool:
        """Whether its trainer is at work on it right now."""
        return self in (CheckpointState.IN_PROGRESS, CheckpointState.BEING_DELETED)


class Completeness(NamedTuple):
    """Whether the trainer finished writing, and if not, why we think so."""

    state: CheckpointState
    reason: str = ""


class Clock(NamedTuple):
    """When the run was looked at, and how long a save or a deletion may stand still: nanoseconds.

    ``times``: whose times the files have (:attr:`audit.storage.Storage.times`).
    """

    now_ns: int
    settle_ns: int
    times: str | None = TRAINER

    @property
    def by_trainer(self) -> bool:
        """Whether the times of files are those at which the trainer wrote them."""
        return self.times == TRAINER

    def recent(self, time_ns: int) -> bool:
        """Whether a time is within the settle time."""
        return self.now_ns - time_ns < self.settle_ns


def completeness_of(
    listing: Listing, name: str, backend: Backend, clock: Clock, arguments: ArgumentsOf
) -> Completeness:
    """Judge from names and times whether a checkpoint was written to its end."""
    entries, home = listing.inside[name], listing.entries[name]
    if not clock.by_trainer:
        return _stored(entries, backend, clock)
    if (limit := _rotated_by(listing, name, backend, clock, arguments)) is not None:
        return Completeness(CheckpointState.BEING_DELETED, f"{backend.name} keeps {limit}")
    state = last_in(backend, entries)
    sentinel = entries.get(SENTINEL)
    names = last_written(backend)
    placeholder = any(name + suffix in entries for name in names for suffix in PLACEHOLDER_SUFFIXES)
    if (state is not None or placeholder) and sentinel is None:
        late = _unannounced(listing, name, backend, clock)
        late = late or _saved_over(entries, state, backend, clock)
        late = late or _still_to_come(entries, home, state, backend, clock, lambda: arguments(name))
        return Completeness(CheckpointState.IN_PROGRESS, late) if late else Completeness(CheckpointState.COMPLETE)
    if state is None:
        reason = f"{names[0]}, which the trainer writes last, is not there"
    else:
        reason = f"{SENTINEL} is there: the save at a signal was cut off"
    # Deleting a file changes the time of the directory, not of the files: only a file tells that a save goes on.
    times = [entry.mtime_ns for entry in entries.values() if entry.kind == FILE]
    finished = state is not None and sentinel is not None and sentinel.mtime_ns > state.mtime_ns
    if not finished and clock.recent(max(times) if times else home.mtime_ns):
        return Completeness(CheckpointState.IN_PROGRESS, reason)
    return Completeness(CheckpointState.INCOMPLETE, reason)


def _stored(entries: Mapping[str, Entry], backend: Backend, clock: Clock) -> Completeness:
    """Judge a checkpoint in a storage whose times are not the trainer's: uploads come in any order.

    Each object is whole once it is there, so only what is missing can be still to come.
    """
    state, names = last_in(backend, entries), last_written(backend)
    placeholder = any(name + suffix in entries for name in names for suffix in PLACEHOLDER_SUFFIXES)
    layout = backend.layout(entries, None, None)
    missing = sorted(layout.missing.values())
    if state is None and not placeholder:
        missing.insert(0, names[0])
    newest = max((entry.mtime_ns for entry in entries.values() if entry.kind == FILE), default=0)
    if missing and clock.times == UPLOAD and clock.recent(newest):
        return Completeness(CheckpointState.IN_PROGRESS, f"it was uploaded just now, and {missing[0]} is not there yet")
    if state is None and not placeholder:
        return Completeness(CheckpointState.INCOMPLETE, f"{names[0]}, which the trainer writes last, is not there")
    if SENTINEL in entries:
        return Completeness(CheckpointState.INCOMPLETE, f"{SENTINEL} is there: the save at a signal was cut off")
    return Completeness(CheckpointState.COMPLETE)


def _unannounced(listing: Listing, name: str, backend: Backend, clock: Clock) -> str | None:
    """Say that the run does not name a checkpoint as its newest yet, though it was written just now."""
    file = announced_in(backend)
    if file is None:
        return None
    newest = max((item.mtime_ns for item in listing.inside[name].values() if item.kind == FILE), default=0)
    told = listing.entries.get(file)
    if not clock.recent(newest) or (told is not None and told.mtime_ns >= newest):
        return None
    return f"{file}, which the trainer writes after it, was not written since"


def _saved_over(entries: Mapping[str, Entry], state: Entry | None, backend: Backend, clock: Clock) -> str | None:
    """Say that a directory is being written anew: files are younger than the one that its save writes last."""
    if state is None or not saves_over(backend):
        return None
    newest = max((entry for entry in entries.values() if entry.kind == FILE), key=lambda entry: entry.mtime_ns)
    if newest.mtime_ns <= state.mtime_ns + TICK_NS or not clock.recent(newest.mtime_ns):
        return None
    return f"{newest.name} is younger than {state.name}, which the trainer writes last"


def _still_to_come(
    entries: Mapping[str, Entry],
    home: Entry,
    state: Entry | None,
    backend: Backend,
    clock: Clock,
    arguments: Callable[[], Mapping[str, Any] | None],
) -> str | None:
    """Say what is still being written after the state file was made, None if nothing is.

    These are the random states of other processes. Deleting one leaves another time: the directory's is later then.
    """
    if state is None or state.kind != FILE or not clock.recent(state.mtime_ns):
        return None
    if not backend.state_file:  # each process, or each state, may have a last file of its own
        missing = sorted(backend.layout(entries, None, None).missing.values())
        return f"{missing[0]} is not there yet" if missing else None
    if (
        home.mtime_ns > state.mtime_ns
    ):  # making the state file set the time of the directory, filling it that of the file
        return None
    names = backend.layout(entries, None, None)
    if not names.rng or ((names.world_size or 1) == 1 and not names.missing_rng):
        return None  # one process, as nearly always: the arguments need not be read for that
    known = (
        arguments()
    )  # beside the shards of FSDP there are none; then the names alone say how many processes there are
    layout = backend.layout(entries, known, None) if known is not None else names
    others = [name for name in layout.missing_rng if name != layout.owed_rng[0]]
    return f"{others[-1]} of another process is not there yet" if others else None


def _rotated_by(listing: Listing, name: str, backend: Backend, clock: Clock, arguments: ArgumentsOf) -> int | None:
    """Return ``save_total_limit`` if rotation is deleting the checkpoint right now, else None.

    It does so right after a save: a newer checkpoint has just been written to its end, there are more than the limit
    allows, and since then this directory has changed, but none of its files. The directory of a checkpoint that was
    damaged by hand may look like that for the settle time, and only in a run with too many checkpoints.
    """
    changed = listing.entries[name].mtime_ns
    if not clock.recent(changed):
        return None
    if any(item.kind == FILE and item.mtime_ns > changed - TICK_NS for item in listing.inside[name].values()):
        return None
    for other in reversed(listing.by_step):
        if listing.homes[other] <= listing.homes[name]:
            return None
        state = last_in(backend, listing.inside[other])
        if state is not None and state.mtime_ns <= changed + TICK_NS and clock.recent(state.mtime_ns):
            limit = (arguments(other) or {}).get("save_total_limit")
            return limit if isinstance(limit, int) and 0 < limit < len(listing.inside) else None
    return None
