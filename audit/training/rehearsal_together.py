"""Rehearse in the processes that a launcher has started: each restores and trains its part, process 0 decides and says.

What is compared in each process, such as its own random state, the backend brings together.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from audit.backend.rehearsal import Rehearsal, RehearsalRequest
from audit.backend.signals import caught
from audit.backend.training import LegFailed, Team, TrainingBackend
from audit.errors import AuditError
from audit.manager import Registry
from audit.rehearsal.report import RehearsalReport
from audit.training.config import TrainConfig
from audit.training.rehearsal import Asked, check_backend, rehearse
from audit.training.together import GRACE_SECONDS, Ended, Together, unless_done_in
from audit.training.training_process import Stopped

Show = Callable[[RehearsalReport], None]


def rehearse_together(
    config: TrainConfig, trainer: TrainingBackend, registry: Registry, asked: Asked, show: Show
) -> int:
    """Rehearse, ``show`` the report, and return the exit code, which is the same in every process.

    Without a launcher this is one process, and the training has one of its own. Raises as
    :func:`audit.training.rehearsal.rehearse`, in process 0 alone.
    """
    check_backend(trainer)
    with trainer.team(config.settings) as found:
        if found.size == 1:
            report = rehearse(config, trainer, registry, asked)
            show(report)
            return report.exit_code
        try:
            with caught(_stop, (signal.SIGTERM,)):
                return _rehearsed(config, trainer, registry, asked, show, found)
        except Ended as end:
            time.sleep(GRACE_SECONDS)  # the launcher ends process 0 as soon as another one has ended
            return end.code


def _rehearsed(
    config: TrainConfig, trainer: TrainingBackend, registry: Registry, asked: Asked, show: Show, found: Team
) -> int:
    team = Together(found, "rehearse")
    if team.rank:
        return _follow(trainer, team, asked)

    def run(trainer: TrainingBackend, request: RehearsalRequest) -> Rehearsal:
        part = _part(trainer, team.share(lambda: request), asked.timeout, speaks=True)
        team.share(lambda: None)  # the others use the same scratch directory
        return part

    try:
        _check_machines(team)
        report = rehearse(config, trainer, registry, asked, run)
    except AuditError as error:
        wrong, cause = error, error.__cause__
        return team.share(lambda: _raise(wrong), cause if isinstance(cause, LegFailed) else None)
    return team.share(lambda: _shown(report, show))


def _follow(trainer: TrainingBackend, team: Together, asked: Asked) -> int:
    """The part of a process that decides nothing."""

    def unasked() -> NoReturn:
        raise AssertionError("process 0 decides")

    request: RehearsalRequest = team.share(unasked)
    outcome: AuditError | None = None
    try:
        _part(trainer, request, asked.timeout, speaks=False)
    except AuditError as error:
        outcome = error
    team.share(unasked, outcome)
    code: int = team.share(unasked)
    return code or (2 if outcome is not None else 0)


def _part(trainer: TrainingBackend, request: RehearsalRequest, seconds: float, *, speaks: bool) -> Rehearsal:
    """Rehearse; end the process if that takes too long, the others hear of it."""

    def end() -> None:
        if speaks:
            name = os.path.basename(request.leg.resume_from or "")
            os.write(2, f"audit rehearse: {name}: it took longer than {seconds:g} s, and was ended\n".encode())
            shutil.rmtree(request.leg.run, ignore_errors=True)
        os._exit(2)

    with unless_done_in(seconds, end):
        found: Rehearsal = trainer.rehearse(request, lambda event: None)  # type: ignore[attr-defined]
        return found


def _check_machines(team: Together) -> None:
    """Raise AuditError if the processes are on several machines: a scratch directory is on one."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", team.size))
    if here != team.size:
        raise AuditError(
            f"{here} of {team.size} processes are on this machine, and a rehearsal needs all of them on one; start it there "
            f"with torchrun --nproc-per-node {team.size}"
        )


def _shown(report: RehearsalReport, show: Show) -> int:
    show(report)
    return report.exit_code


def _raise(error: AuditError) -> NoReturn:
    raise error


def _stop(number: int, frame: object) -> NoReturn:
    raise Stopped
