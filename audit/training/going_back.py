"""Going back to a checkpoint (``audit train --back-to``): one act, which the next call finishes if it is interrupted.

A row of the ledger says what is to be done before anything is. Each part of it can be done again: the checkpoint is put
where it belongs, what follows is moved to quarantine, and the files that are dropped are set aside. The last row says
that all of it is done. The other files are then trained again as after any other step back.
"""

import os

from audit.audit_dir import PINNED, QUARANTINE
from audit.backend.names import step_of
from audit.backend.training import Note
from audit.errors import AuditError
from audit.judging.proving import proving
from audit.ledger.back_events import GoingBack, WentBack
from audit.ledger.store import Ledger
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.retention.pins import pin, put_back, shares_files
from audit.retention.pins_aside import set_pins_aside
from audit.retention.quarantine import Candidate, Held, isolate, restore
from audit.training.batch_log import BatchLog
from audit.training.config import TrainConfig
from audit.training.data_files import DataFiles
from audit.training.events import CheckpointPutBack, CheckpointQuarantined, Emit, RunTakenBack
from audit.training.filing import Filing
from audit.training.held_file import HeldFiles
from audit.training.run_state import RunState
from audit.training.way_back import Surveyor, WayBack


class Retreat:
    """The going back of one call: to the checkpoint ``to``, None if only an interrupted one is to be finished."""

    def __init__(
        self,
        surveyor: Surveyor,
        run_state: RunState,
        batch_log: BatchLog,
        filing: Filing,
        emit: Emit,
        to: str | None = None,
        drop: tuple[str, ...] = (),
        skip_lost: bool = False,
    ) -> None:
        self._surveyor, self._run_state, self._batch_log, self._filing = surveyor, run_state, batch_log, filing
        self._emit = emit
        self._to, self._drop, self._skip_lost = to, drop, skip_lost

    def act(self, timeline: Timeline) -> bool:
        """Go back, or finish going back; return whether anything was done. Raises TrainRefused, AuditError."""
        if timeline.returning is not None:
            self._finish(timeline.returning, timeline)
            return True
        if self._to is None:
            return False
        way = self._surveyor.find(timeline, self._to, self._drop, self._skip_lost)
        self._to = None
        if way.nothing:
            self._emit(Note(f"{way.target.checkpoint} is where the run is: nothing follows it that could be given up"))
            return False
        self._emit(taken_back(way))
        drop = [(item.digest, item.file) for item in way.drop]
        self._batch_log.record(GoingBack(way.target.checkpoint, way.target.step, way.target.place, drop))
        return True  # the next round does it, as after a kill

    def _finish(self, event: GoingBack, timeline: Timeline) -> None:
        run, reason = self._run_state.run, f"given up: the run went back to {event.checkpoint}"
        with self._batch_log.ledger() as ledger:
            self._put(event, ledger, reason)
            opened = self._run_state.opened()
            later = [Candidate(item, reason) for item in reversed(opened.checkpoints) if item.step > event.step]
            for held in isolate(opened, later, ledger):
                self._emit(CheckpointQuarantined(held.name, held.place, held.reason))
            set_pins_aside(run, lambda name: (step_of(name) or 0) > event.step, reason, ledger)
        try:
            pin(run, event.checkpoint)
        except AuditError as error:
            self._emit(Note(f"not pinned: {error}"))
        self._filing.take_apart(timeline, event.step, {digest for digest, _ in event.drop})
        for digest, file in event.drop:
            self._filing.drop(digest, file)
        self._batch_log.record(WentBack(event.step))

    def _put(self, event: GoingBack, ledger: Ledger, reason: str) -> None:
        """Put the checkpoint into the run, if it was elsewhere; what is in its place there is moved to quarantine."""
        run = self._run_state.run
        target = os.path.join(run, event.checkpoint)
        if not event.place and not os.path.isdir(target):  # it was there when the act began
            kept = (os.path.join(home, event.checkpoint) for home in (PINNED, QUARANTINE))
            event = event._replace(place=next((place for place in kept if os.path.isdir(os.path.join(run, place))), ""))
        source = os.path.join(run, event.place)
        if not event.place or not os.path.isdir(source):
            if not os.path.isdir(target):
                raise AuditError(f"{target}: is not there any more, so the run cannot go back to it; see audit history")
            return
        pinned = os.path.dirname(event.place) == PINNED
        if pinned and os.path.isdir(target) and shares_files(source, target):
            return
        opened = self._run_state.opened()
        wrong = [Candidate(item, reason) for item in opened.checkpoints if item.name == event.checkpoint]
        for held in isolate(opened, wrong, ledger):
            self._emit(CheckpointQuarantined(held.name, held.place, held.reason))
        if pinned:
            put_back(run, event.checkpoint)
            self._emit(CheckpointPutBack(event.checkpoint))
        else:
            held = Held(os.path.basename(event.place), event.checkpoint)
            for _ in restore(run, [held], ledger, event.step):
                self._emit(Note(f"{event.checkpoint}: moved back from .audit/quarantine/"))


def taken_back(way: WayBack) -> RunTakenBack:
    """Return what is said of going back before it is done."""
    return RunTakenBack(
        checkpoint=str(way.target),
        step=way.target.step,
        reached=way.reached,
        aside=list(way.aside),
        again=[item.file for item in way.again],
        dropped=[item.file for item in way.drop],
    )


def way_back(config: TrainConfig, registry: Registry, to: str, drop: tuple[str, ...], skip_lost: bool) -> WayBack:
    """Return what going back would give up; nothing is changed. Raises TrainRefused, AuditError."""
    log, files = BatchLog(config.run), DataFiles(config.data)
    options = proving(config.verify)._replace(settle_seconds=0.0, ledger=False)
    surveyor = Surveyor(config.run, options, registry, log, files, HeldFiles(config.data.inbox))
    return surveyor.find(log.timeline(), to, drop, skip_lost)
