"""``audit train``: batch after batch until the inbox is empty, or as a daemon."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import AuditError
from audit.legs import LegResult, Team, Tell, TrainingBackend
from audit.lock import RunLock
from audit.manager import Registry
from audit.training.config import TrainConfig
from audit.training.inbox import InboxGone
from audit.training.process import InChild, RunLeg, Stopped, here
from audit.training.session import Session
from audit.training.standing import Say, TrainRefused
from audit.training.work import Work

if TYPE_CHECKING:
    from audit.training.watching import Watcher

LOG = os.path.join(".audit", "training.log")


TOLD = frozenset({"step", "phase", "note"})
"""What a backend may tell: all else that is said, the audit itself has seen."""


class Wishes(NamedTuple):
    """What one call of ``audit train`` asks for; see :class:`audit.training.session.Session` for the others.

    ``watch``: go on as a daemon. ``show_output``: what the training prints goes to the terminal, not into a log file.
    """

    watch: bool = False
    decay: bool = False
    skip_lost: bool = False
    allow_fresh: bool = False
    show_output: bool = False


def train(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    say: Say,
    wishes: Wishes = Wishes(),  # noqa: B008  a value
    run_leg: RunLeg | None = None,
) -> int:
    """Train every batch that waits; return the exit code: 0, 1 where a file was set aside, 130 or 143 after a signal.

    ``run_leg`` runs a leg: by default in a child process, under a launcher (``WORLD_SIZE``) in this one. Raises
    TrainRefused where a batch failed or is refused, AuditError where nothing could be done.
    """
    with trainer.team(config.settings) as team, _terminated() as terminated:
        decides = team.rank == 0
        with _locked(config.run, team) as lock:
            told = say if decides else _silent
            session = Session(
                config,
                trainer,
                registry,
                told,
                processes=team.size,
                decay=wishes.decay,
                skip_lost=wishes.skip_lost,
                allow_fresh=wishes.allow_fresh,
            )
            if run_leg is None:
                run_leg = here if team.size > 1 else _in_child(config, lock, wishes)
            try:
                return _go(session, team, wishes, run_leg)
            except Stopped:
                return 128 + signal.SIGTERM
            except KeyboardInterrupt:
                if terminated:  # watchfiles makes one of whatever a handler raises
                    return 128 + signal.SIGTERM
                raise


def _go(session: Session, team: Team, wishes: Wishes, run_leg: RunLeg) -> int:
    watcher = _watcher(session) if wishes.watch and team.rank == 0 else None
    while True:
        work = team.share(lambda: _next(session, watcher))
        if work is not None:
            outcome = _leg(session, work, run_leg)
            number = team.share(lambda work=work, outcome=outcome: session.conclude(work, outcome))  # type: ignore[misc]
            if number is not None:
                return 128 + int(number)
        elif not team.share(lambda: _wait(session, watcher)):
            return team.share(lambda: 1 if session.set_aside else 0)


def _leg(session: Session, work: Work, run_leg: RunLeg) -> LegResult | AuditError:
    def tell(event: Mapping[str, Any]) -> None:
        if event.get("event") in TOLD:
            own = {key: work.shown(value) if isinstance(value, str) else value for key, value in event.items()}
            session.say({**own, "file": work.file.name})

    try:
        return run_leg(session.trainer, work.request, tell)
    except AuditError as error:
        return error


def _watcher(session: Session) -> "Watcher":
    from audit.training.watching import Watcher

    return Watcher(session)


def _next(session: Session, watcher: "Watcher | None") -> Work | None:
    if watcher is None:
        return session.next()
    watcher.daily_snapshot()
    try:
        return session.next()
    except InboxGone:
        return None  # the watcher waits for it, too


def _wait(session: Session, watcher: "Watcher | None") -> bool:
    """Wait for a file that is still being written, as a daemon for any; return whether to look again."""
    if watcher is not None:
        watcher.wait()
        return True
    if session.unsettled is None:
        return False
    time.sleep(session.unsettled)
    return True


def _in_child(config: TrainConfig, lock: RunLock | None, wishes: Wishes) -> RunLeg:
    log = None if wishes.show_output else os.path.join(config.run, LOG)
    return InChild(lock.fileno() if lock is not None else None, log)


@contextmanager
def _locked(run: str, team: Team) -> Iterator[RunLock | None]:
    """Hold the run's lock on the process that decides; the others learn whether it could be had."""
    lock = RunLock(run, "trained") if team.rank == 0 else None
    with lock if lock is not None and team.size == 1 else nullcontext():
        if team.size > 1:

            def take() -> None:
                assert lock is not None
                lock.__enter__()

            team.share(take)
        try:
            yield lock
        finally:
            if team.size > 1 and lock is not None:
                lock.__exit__(None, None, None)


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """SIGTERM between two legs ends at once, but through every ``finally``; the list then holds it."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(number: int, frame: object) -> None:
        came.append(number)
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _silent(event: Mapping[str, Any]) -> None:
    """Only the process that decides speaks."""


__all__ = ["LOG", "Stopped", "Tell", "TrainRefused", "Wishes", "train"]
