"""``audit train``: batch after batch until the inbox is empty, or as a daemon."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import TRAINING_LOG
from audit.backend.training import LegResult, Note, Phase, Progress, Step, TrainingBackend
from audit.errors import AuditError
from audit.ledger.progress import ProgressFile
from audit.manager import Registry
from audit.retention.lock import RunLock
from audit.training.config import TrainConfig
from audit.training.data_files import InboxGone, ignored
from audit.training.drafting import Work
from audit.training.events import Emit, Event, FileIgnored, NothingToTrain
from audit.training.live_page import write_page
from audit.training.process import Here, InChild, RunLeg
from audit.training.retrying import Retries
from audit.training.run_state import TrainRefused
from audit.training.session import Session
from audit.training.together import GRACE_SECONDS, Ended, Together
from audit.training.tracking import Log, Tracking
from audit.training.training_process import Stopped

if TYPE_CHECKING:
    from audit.training.watching import Watcher


class TrainOptions(NamedTuple):
    """What one call of ``audit train`` asks for; see :class:`audit.training.session.Session` for the others.

    ``watch``: run as a daemon. ``show_output``: the output of the training goes to the terminal, not into a log file.
    """

    watch: bool = False
    decay: bool = False
    skip_lost: bool = False
    allow_fresh: bool = False
    adopt: bool = False
    accept: tuple[str, ...] = ()
    reason: str = ""
    back_to: str | None = None
    drop: tuple[str, ...] = ()
    allow_dropped: bool = False
    change: tuple[str, ...] = ()
    show_output: bool = False


def train(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    emit: Emit,
    options: TrainOptions = TrainOptions(),  # noqa: B008  a value
    run_leg: RunLeg | None = None,
) -> int:
    """Train every batch that waits; return the exit code: 0, 1 if a file was set aside, 130 or 143 after a signal.

    ``run_leg`` runs a leg: by default in a child process, under a launcher (``WORLD_SIZE``) in this one. Raises
    TrainRefused if a batch failed or is refused, AuditError if nothing could be done.
    """
    with trainer.team(config.settings) as found:
        team = Together(found)
        with team.signals():
            try:
                return _trained(config, trainer, registry, emit if team.rank == 0 else _silent, options, team, run_leg)
            except Ended as end:
                time.sleep(GRACE_SECONDS)
                return end.code
            except Stopped:
                return 128 + signal.SIGTERM
            except KeyboardInterrupt:
                if signal.SIGTERM in team.came:  # watchfiles turns what a handler raises into one
                    return 128 + signal.SIGTERM
                raise


def _trained(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    emit: Emit,
    options: TrainOptions,
    team: Together,
    run_leg: RunLeg | None,
) -> int:
    with _locked(config.run, team) as lock:
        if lock is not None and lock.unprotected is not None:
            emit(Note(lock.unprotected))
        session = Session(
            config,
            trainer,
            registry,
            emit,
            processes=team.size,
            watch=options.watch,
            decay=options.decay,
            skip_lost=options.skip_lost,
            allow_fresh=options.allow_fresh,
            adopt=options.adopt,
            accept=options.accept,
            reason=options.reason,
            back_to=options.back_to,
            drop=options.drop,
            allow_dropped=options.allow_dropped,
            change=options.change,
        )
        if run_leg is not None or team.size > 1:
            legs_here = Here(registry)
            return _go(session, team, options, run_leg or legs_here, legs_here.log)
        log = None if options.show_output else os.path.join(config.run, TRAINING_LOG)
        with InChild(lock.fileno() if lock is not None else None, log) as in_child:
            session.rehearsals.make_room = in_child.close
            rest = partial(in_child.rest, config.watch.release_seconds)
            return _go(session, team, options, in_child, in_child.log, rest)


def _go(
    session: Session,
    team: Together,
    options: TrainOptions,
    run_leg: RunLeg,
    log: Log,
    rest: Callable[[], None] = lambda: None,
) -> int:
    """``rest`` is called again and again while a daemon waits for a file."""
    try:
        return _rounds(session, team, options, run_leg, log, rest)
    except AuditError:
        if team.rank == 0 and session.trained_any():  # what was refused or failed, and what was moved before, is on it
            write_page(session.config, session.registry, session.emit)
        raise


def _rounds(
    session: Session, team: Together, options: TrainOptions, run_leg: RunLeg, log: Log, rest: Callable[[], None]
) -> int:
    judging = session.registry if team.rank == 0 else None
    tracking = Tracking(session.trainer, session.config, log, session.emit, judging)
    if isinstance(run_leg, InChild | Here):
        run_leg.meanwhile, run_leg.refused = tracking.meanwhile, tracking.refused
    watcher = _watcher(session, rest) if options.watch and team.rank == 0 else None
    retries = Retries(session.config.retry, session.emit) if team.size == 1 else None
    while True:
        work = team.share(lambda: _next(session, watcher))
        if work is not None:
            with tracking.saves(work.request) as reached:
                outcome = _leg(session, work, run_leg, reached)
            number = team.share(partial(_concluded, session, work, outcome, retries, tracking), outcome)
            team.share(lambda: write_page(session.config, session.registry, session.emit))
            if number is not None:
                return 128 + int(number)
        elif not team.share(lambda: _wait(session, watcher)):
            return team.share(lambda: _end(session))


def _end(session: Session) -> int:
    """Say what was left alone, and if that is all; return the exit code."""
    for item in ignored(session.config.data):
        session.emit(FileIgnored(*item))
    if not (session.conclusion.trained or session.filing.set_aside):
        session.emit(NothingToTrain(session.config.data.inbox))
    return 1 if session.filing.set_aside else 0


def _leg(session: Session, work: Work, run_leg: RunLeg, reached: Callable[[int], None]) -> LegResult | AuditError:
    shown = ProgressFile(session.config.run, work.request.last_step)

    def tell(event: Progress) -> None:
        if isinstance(event, Step):
            shown.advance(event.step, event.loss, event.learning_rate)
            reached(event.step)
        if isinstance(event, Phase | Note):
            event = event._replace(text=work.shown(event.text))
        session.emit(event._replace(file=work.file.name))

    try:
        return run_leg(session.trainer, work.request, tell)
    except AuditError as error:
        return error


def _watcher(session: Session, rest: Callable[[], None]) -> "Watcher":
    from audit.training.watching import Watcher

    return Watcher(session, rest)


def _concluded(
    session: Session, work: Work, outcome: LegResult | AuditError, retries: Retries | None, tracking: Tracking
) -> int | None:
    """Conclude a leg; None if it is to be tried again. Several processes end together: a launcher starts them again."""
    session.held_out.changed_meanwhile()
    stopped = isinstance(outcome, LegResult) and outcome.stopped_by is not None
    try:
        with tracking.leg(work.request, session.conclusion.judged, stopped):
            return session.conclusion.conclude(work, outcome)
    except TrainRefused:
        if retries is None or not retries.again(work, outcome):
            raise
        return None


def _next(session: Session, watcher: "Watcher | None") -> Work | None:
    session.days.tell()
    if watcher is None:
        return session.next()
    watcher.daily_snapshot()
    try:
        return session.next()
    except InboxGone:
        return None  # the watcher waits for it


def _wait(session: Session, watcher: "Watcher | None") -> bool:
    """Wait for a file that is being written, a daemon for any file; return whether to look again."""
    if watcher is not None:
        watcher.wait()
        return True
    if session.unsettled is None:
        return False
    time.sleep(session.unsettled)
    return True


@contextmanager
def _locked(run: str, team: Together) -> Iterator[RunLock | None]:
    """Hold the run's lock on process 0; raises on every process if it is taken."""
    lock = RunLock(run, "trained") if team.rank == 0 else None

    def take() -> None:
        assert lock is not None
        lock.__enter__()

    try:
        team.share(take)
        yield lock
    finally:
        if lock is not None:
            lock.__exit__(None, None, None)


def _silent(event: Event) -> None:
    """Only process 0 shows anything."""
