"""What changes while it is read: a trainer saves and rotates, and no lock keeps it from that.

A judgement rests on one listing of the run. Afterwards the run is listed again; if a checkpoint that counts as
written to its end has changed, or is gone, what was found may be about a state that never was: a directory half
deleted, a file half written. Then the run is judged once more. A trainer that never rests must not keep an audit busy
for ever: in the second round a checkpoint that changed is set aside as in progress, and only the others are judged.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from audit.backend.protocol import last_written
from audit.facts.checkpoint import Checkpoint
from audit.facts.listing import list_checkpoint
from audit.facts.run import Run
from audit.storage import Entry

T = TypeVar("T")

SECOND_NS = 1_000_000_000


def judged_at_rest(opening: Callable[[], Run], judge: Callable[[Run], T]) -> tuple[Run, T]:
    """Open a run and judge it until nothing that the judgement rests on changed meanwhile; return both."""
    run = opening()
    found = judge(run)
    changed = moved(run)
    if not changed:
        return run, found
    again = opening()
    again.known_scans = _scans_at_rest(run, changed)
    run, found = again, judge(again)
    while changed := moved(run):  # each round sets one more aside, so it ends
        run = _without(run, changed)
        found = judge(run)
    return run, found


def moved(run: Run) -> frozenset[str]:
    """Return the names of the checkpoints that are not as they were listed.

    Those that are in progress may change, they are not judged; new ones do not concern this judgement.
    """
    written = {path.partition("/")[0] for path in run.storage.refresh()}
    settles = run.clock.settle_ns and run.clock.by_trainer
    pause = max(map(_half_written, run.checkpoints), default=0) if settles else 0
    if pause:  # a sleep of nothing still gives the processor away, for milliseconds on a busy machine
        time.sleep(pause / 1e9)
    gone = run.homes.keys() - run.listing.inside.keys() - run.unsettled
    homes = _homes(run)
    at_stake = (item for item in run.checkpoints if _at_stake(item))
    return frozenset(gone.union(item.name for item in at_stake if item.name in written or _changed(run, item, homes)))


def _homes(run: Run) -> Mapping[str, Entry]:
    """The entries of the run's root as they are now."""
    try:
        return {entry.name: entry for entry in run.storage.list("")}
    except OSError:
        return {}


def _half_written(checkpoint: Checkpoint) -> int:
    """Return how long to wait, in nanoseconds, until a damaged file is no longer one that may be half written.

    Between making a file and filling it a trainer takes less than a second. Only what may be written when the state
    file is there already: that file itself, and random states.
    """
    layout = checkpoint.optional("layout")
    if layout is None:
        return 0
    last = {*last_written(checkpoint.run.backend), *layout.rng}
    ages = [time.time_ns() - file.entry.mtime_ns for file, _ in checkpoint.damages if file.path in last]
    return max((SECOND_NS - age for age in ages if 0 <= age < SECOND_NS), default=0)


def _at_stake(checkpoint: Checkpoint) -> bool:
    completeness = checkpoint.optional("completeness")
    return completeness is None or not completeness.state.moving


def _changed(run: Run, checkpoint: Checkpoint, homes: Mapping[str, Entry]) -> bool:
    # The run's root is listed before what is in it: a deletion that began between the two, and makes a pause, shows by
    # the time of the directory alone.
    home = homes.get(checkpoint.name)
    if home is None or home.mtime_ns != run.entry_of(checkpoint.name).mtime_ns:
        return True
    now = list_checkpoint(run.storage, checkpoint.name, home)
    if now is None or now.entries == checkpoint.entries:  # nearly always the latter
        return now is None
    return _stamps(now.entries) != _stamps(checkpoint.entries)


def _stamps(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries without the time of the last change of the inode, which a hard link (a pin) sets."""
    return {path: entry._replace(ctime_ns=0) for path, entry in entries.items()}


def _scans_at_rest(run: Run, changed: frozenset[str]) -> dict[tuple[str, str], tuple[Entry, Any]]:
    scans = run.optional("scans") if run.depth == "full" else None
    entries = {checkpoint.name: checkpoint.entries for checkpoint in run.checkpoints}
    return {key: (entries[key[0]][key[1]], scan) for key, scan in (scans or {}).items() if key[0] not in changed}


def _without(run: Run, changed: frozenset[str]) -> Run:
    """The same listing of the run, with the changed checkpoints set aside."""
    other = run.setting_aside(changed)
    other.known_scans = _scans_at_rest(run, changed)
    return other
