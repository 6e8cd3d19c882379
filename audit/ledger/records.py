"""What a run's ledger records when an audit begins: seals, remembered scans, batches, the highest step."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import AUDIT_DIR
from audit.backend.names import number_of
from audit.ledger import events
from audit.ledger.batch_row import BATCH
from audit.ledger.losses import evidence_in, lost_rows
from audit.ledger.seals import Seal, seals_of
from audit.ledger.timeline import Timeline
from audit.ledger.ways_back import begins_at, going_back_of, leg_of, way_back_of
from audit.text import unix_time

if TYPE_CHECKING:
    from audit.ledger.store import Ledger, Row


class Records(NamedTuple):
    """What the ledger records of a run.

    * ``seals`` by checkpoint; ``scans``: (stamp, text) by (checkpoint, file); ``batches`` of ``audit train``.
    * ``highest_reached``: the step that the run is at least at, after the last known way back; ``highest_ever``: the
      highest step that any verification saw; ``ended_early_at``: the step at which the last leg failed or was stopped,
      0 if something was begun since. ``observed`` counts verifications.
    * ``highest_here``: as ``highest_reached``, but a newest checkpoint that was removed on purpose, with a proven copy
      elsewhere, is not missed: the step of which a checkpoint has to be here.
    * ``pruned`` and ``quarantined``: the steps of checkpoints that somebody removed or moved aside.
    * ``elsewhere``: those that were removed and have a proven copy in a repository, as (step, repository) by name,
      without what was pulled back or given up since.
    * ``last_read``: when all files of a checkpoint with remembered scans had been read, in Unix seconds.
    * ``accepted``: findings that a person has accepted.
    * ``base``: the digests of the files of the base model, None if they are not known.
    * ``given_up``: by the name of a checkpoint that was sealed and given up with ``--back-to``, what was gone back to.
    * ``rehearsed``: the newest rehearsal of each checkpoint; it is true of the files that had its seal.
    * ``snapshot``: this is a copy of one checkpoint of another run.
    * Why the ledger helps less than it should, None if it is fine: ``unusable``, ``edited`` (its rows are not what was
      written), ``unwritable`` (nothing can be added), ``lost`` (what shows that rows are missing).
    """

    seals: Mapping[str, Seal] = {}
    scans: Mapping[tuple[str, str], tuple[str, str]] = {}
    highest_reached: int = 0
    observed: int = 0
    unusable: str | None = None
    edited: str | None = None
    unwritable: str | None = None
    pruned: frozenset[int] = frozenset()
    snapshot: bool = False
    batches: Timeline = Timeline()
    ended_early_at: int = 0
    highest_ever: int = 0
    quarantined: frozenset[int] = frozenset()
    lost: str | None = None
    last_read: Mapping[str, float] = {}
    accepted: tuple[events.Accepted, ...] = ()
    base: Mapping[str, events.SealedFile] | None = None
    given_up: Mapping[str, str] = {}
    rehearsed: Mapping[str, events.Rehearsed] = {}
    highest_here: int = 0
    elsewhere: Mapping[str, tuple[int, str]] = {}


def read_records(run: str, write: bool) -> "tuple[Records, Ledger | None]":
    """Open the ledger of a run and read it; a run without one has empty records. Never raises for a bad ledger.

    With ``write`` the ledger is returned open, to be written and closed by the caller.
    """
    if not os.path.isdir(run) or not (write or os.path.lexists(os.path.join(run, AUDIT_DIR))):
        return Records(), None
    from audit.ledger.store import LedgerEditedError, LedgerError, LedgerUnwritableError, open_ledger

    evidence = evidence_in(run)
    try:
        ledger = open_ledger(run, write)
    except LedgerUnwritableError as error:  # a read-only run without a ledger is nothing to worry about
        return Records(unwritable=str(error), lost=lost_rows(run, (), (), evidence)), None
    except LedgerError as error:
        return Records(unusable=str(error)), None
    if ledger is None:
        return Records(lost=lost_rows(run, (), (), evidence)), None
    unwritable = f"{ledger.path}: cannot be written" if write and not ledger.writable else None
    try:
        remembered = ledger.scans()  # before the rows: what is remembered meanwhile has a row that is not read
        rows = ledger.rows()
        scans = vouched(rows, remembered)
    except LedgerEditedError as error:
        ledger.close()
        return Records(edited=str(error)), None
    except LedgerError as error:
        ledger.close()
        return Records(unusable=str(error)), None
    seen = [row.event for row in rows if isinstance(row.event, events.Observation)]
    reached, here = _reached(rows)
    records = Records(
        seals=seals_of(rows),
        scans=scans,
        highest_reached=reached,
        highest_here=here,
        elsewhere=elsewhere_by(rows),
        observed=len(seen),
        unwritable=unwritable,
        pruned=pruned_of(rows),
        snapshot=any(isinstance(row.event, events.SnapshotTaken) for row in rows),
        batches=batches_in(rows),
        ended_early_at=ended_early_by(rows),
        highest_ever=max((event.step or 0 for event in seen), default=0),
        quarantined=quarantined_by(rows),
        last_read=last_read_by(rows),
        accepted=accepted_in(rows),
        base=base_in(rows),
        given_up=given_up_by(rows),
        rehearsed={row.event.checkpoint: row.event for row in rows if isinstance(row.event, events.Rehearsed)},
        lost=lost_rows(run, rows, {checkpoint for checkpoint, _ in remembered}, evidence),
    )
    if not write or not ledger.writable:
        ledger.close()
        return records, None
    return records, ledger


def vouched(
    rows: "tuple[Row, ...]", scans: Mapping[tuple[str, str], tuple[str, str]]
) -> Mapping[tuple[str, str], tuple[str, str]]:
    """Return the remembered scans whose digest is in a row, so that no scan of another file is slipped in."""
    from audit.ledger.store import scans_digest

    remembered = (row.event for row in rows if isinstance(row.event, events.ScansRemembered))
    digests = {event.checkpoint: event.digest for event in remembered}
    by_checkpoint: dict[str, dict[str, tuple[str, str]]] = {}
    for (checkpoint, file), scan in scans.items():
        by_checkpoint.setdefault(checkpoint, {})[file] = scan
    kept = {name for name, held in by_checkpoint.items() if digests.get(name) == scans_digest(held)}
    return {key: scan for key, scan in scans.items() if key[0] in kept}


def last_read_by(rows: "tuple[Row, ...]") -> Mapping[str, float]:
    """Return when all files of each checkpoint with remembered scans had been read, in Unix seconds."""
    found: dict[str, float] = {}
    for row in rows:
        if isinstance(row.event, events.ScansRemembered):
            moment = unix_time(row.event.read_at or row.time)
            if moment is not None:
                found[row.event.checkpoint] = moment
    return found


def base_in(rows: "tuple[Row, ...]") -> Mapping[str, events.SealedFile] | None:
    """Return the files of the base model as they were recorded last, None if they were not."""
    found = (row.event.files for row in reversed(rows) if isinstance(row.event, events.BaseSealed))
    return next(found, None)


def pruned_of(rows: "tuple[Row, ...]") -> frozenset[int]:
    """Return the steps of the checkpoints that were removed on purpose."""
    return frozenset(row.event.step for row in rows if isinstance(row.event, events.Pruned))


def elsewhere_by(rows: "tuple[Row, ...]") -> Mapping[str, tuple[int, str]]:
    """Return step and repository of what was removed and has a proven copy there, unless it is back or given up."""
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        event = row.event
        if isinstance(event, events.Pruned):
            if event.elsewhere:
                found[event.checkpoint] = (event.step, event.elsewhere)
        elif not found:
            continue
        elif isinstance(event, events.Observation):
            for name in event.checkpoints:
                found.pop(name, None)
        else:
            back = going_back_of(row)
            begin = back.step if back is not None else begins_at(row)
            if begin is not None:
                found = {name: item for name, item in found.items() if item[0] <= begin}
    return found


def reached_by(rows: "tuple[Row, ...]", here: bool = False) -> int:
    """Return the step that the run is known to have reached; with ``here`` that of which a checkpoint has to be here.

    An observation and a finished batch raise it. A known way back sets it: what the guard handed out or a fresh start
    that it allowed, a quarantine, the beginning of a training. Once a training has begun there, later checkpoints are
    of the history that was given up: seeing one of them again does not raise the step. The removal of the newest
    checkpoint, of which there is a proven copy, sets the second to the step of the newest one that stayed.
    """
    return _reached(rows)[here]


def _reached(rows: "tuple[Row, ...]") -> tuple[int, int]:
    """Both steps: see :func:`reached_by`."""
    reached = here = 0
    seen = events.Observation(None, "", "", 0, 0, ())
    given_up: set[int] = set()
    for row in rows:
        event = row.event
        if isinstance(event, events.Observation):
            seen = event
            given_up = given_up and given_up & _steps_of(seen.checkpoints)
            if seen.step is not None and seen.step not in given_up:
                reached, here = max(reached, seen.step), max(here, seen.step)
            continue
        if isinstance(event, events.Pruned) and event.left is not None:
            here = event.left
            continue
        back = way_back_of(row)
        if back is not None:
            reached = here = back
            whole = seen.step or 0  # a save beyond it went on while the guard looked
            begins = begins_at(row) is not None
            given_up = {step for step in _steps_of(seen.checkpoints) if back < step <= whole} if begins else set()
        elif row.kind == BATCH:
            finished = _finished_at(row)
            reached, here = max(reached, finished), max(here, finished)
    return reached, here


def ended_early_by(rows: "tuple[Row, ...]") -> int:
    """Return the step at which the last leg failed or was stopped, 0 if something was begun since."""
    step = 0
    for row in rows:
        if way_back_of(row) is not None:
            step = 0
        elif row.kind == BATCH:
            ended = _ended_early_at(row)
            step = step if ended is None else ended
    return step


def _finished_at(row: "Row") -> int:
    from audit.ledger.batch_events import Finished

    return (row.event.last_step or 0) if isinstance(row.event, Finished) else 0


def _ended_early_at(row: "Row") -> int | None:
    """The step at which a leg ended early with this row, 0 if it is not known; None for any other row."""
    from audit.ledger.batch_events import Failed, Stopped

    return (row.event.step or 0) if isinstance(row.event, Stopped | Failed) else None


def batches_in(rows: "tuple[Row, ...]") -> Timeline:
    """Return the batches of ``audit train``."""
    if not any(row.kind == BATCH for row in rows):
        return Timeline()
    from audit.ledger.timeline_rows import timeline_of

    return timeline_of(rows)


def quarantined_by(rows: "tuple[Row, ...]") -> frozenset[int]:
    """Return the steps of checkpoints that were moved into quarantine and not back."""
    found: set[int] = set()
    for row in rows:
        if isinstance(row.event, events.Quarantined):
            steps = _steps_of([row.event.checkpoint])
            found = found | steps if row.event.action == "moved" else found - steps
    return frozenset(found)


def accepted_in(rows: "Sequence[Row]") -> tuple[events.Accepted, ...]:
    """What was accepted and still holds: a history that was given up takes with it what was accepted in it."""
    found: list[events.Accepted] = []
    for row in rows:
        event = row.event
        if isinstance(event, events.Accepted):
            found.append(event)
        elif found:
            back, leg = going_back_of(row), leg_of(row)
            begin = back.step if back is not None else leg.first_step if leg is not None else None
            if begin is not None:
                found = [item for item in found if _place_of(item) <= begin]
    return tuple(found)


def given_up_by(rows: "Sequence[Row]") -> Mapping[str, str]:
    """Return what was given up by going back, by its name, with the checkpoint that was gone back to.

    Once it is sealed again it is another one. Until a leg begins, going back can be undone by going forward.
    """
    steps: dict[str, int] = {}
    times: dict[str, str] = {}
    found: dict[str, str] = {}
    undone: set[str] = set()
    """What is no longer given up if the run now goes forward to it."""
    for row in rows:
        event = row.event
        if isinstance(event, events.SealTaken):
            steps[event.checkpoint], times[event.checkpoint] = event.step, row.time
            found.pop(event.checkpoint, None)
            continue
        if begins_at(row) is not None:
            undone.clear()
        back = going_back_of(row)
        if back is not None:
            for name in [name for name in undone if steps[name] <= back.step]:
                found.pop(name, None)
            found.pop(back.checkpoint, None)
            # A snapshot has the seal of its checkpoint, and rows of batches that are older than that.
            new = {
                name
                for name, step in steps.items()
                if step > back.step and name not in found and times[name] <= row.time
            }
            found.update(dict.fromkeys(new, back.checkpoint))
            undone |= new
    return found


def _place_of(item: events.Accepted) -> int:
    """The step of what was accepted, 0 if it is of the run as a whole."""
    return item.step if item.step is not None else number_of(item.checkpoint or "") or 0


def _steps_of(names: Iterable[str]) -> set[int]:
    """The steps of checkpoints by their names; other names are passed over."""
    return {step for step in map(number_of, names) if step is not None}
