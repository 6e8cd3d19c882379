"""A toy that can be rehearsed, and a shop whose run is rehearsed in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from audit.backend.rehearsal import Compared, Rehearsal, RehearsalRequest, Replayed
from audit.backend.training import Tell, TrainingBackend
from audit.hookspecs import hookimpl
from audit.ledger.events import Rehearsed
from audit.manager import load
from audit.rehearsal.expected import logged_after
from audit.rehearsal.report import RehearsalReport
from audit.training.batch_log import BatchLog
from audit.training.config import read_train_config
from audit.training.rehearsal import Asked, rehearse
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import Toy, ordered, trained_in

PARTS = tuple(Compared(part, 3) for part in ("weights", "optimizer state", "schedule", "random states"))


class Rehearsing(Toy):
    """Trains again by looking it up in the newest checkpoint: ``change`` is what goes wrong."""

    libraries = ("pytest",)

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run = run
        self.change: Callable[[Rehearsal], Rehearsal] = lambda found: found
        self.asked: list[RehearsalRequest] = []

    def rehearse(self, request: RehearsalRequest, tell: Tell) -> Rehearsal:
        self.asked.append(request)
        leg, per_step = request.leg, 2
        newest = max(self.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        if request.steps:
            taken = list(ordered(leg))[: request.steps * per_step]
            assert taken == [name for step in trained_in(newest)[leg.first_step :] for name in step][: len(taken)]
        steps = []
        for item in logged_after(history, leg.first_step, frozenset({leg.first_step}))[: request.steps]:
            first = leg.data.first + (item.step - leg.first_step - 1) * per_step
            ids = tuple(range(first, first + per_step))
            steps.append(Replayed(item.step, item.loss, item.grad_norm, item.learning_rate, ids))
        return self.change(Rehearsal(PARTS, tuple(steps), draws=True))


def here(trainer: TrainingBackend, request: RehearsalRequest) -> Rehearsal:
    found: Rehearsal = trainer.rehearse(request, lambda event: None)  # type: ignore[attr-defined]
    return found


class Stage(Shop):
    """A shop whose run is rehearsed."""

    backend: Rehearsing

    def use(self, backend: Toy) -> None:
        @hookimpl
        def audit_training_backends() -> list[Any]:
            return [backend]

        self.backend = backend  # type: ignore[assignment]
        self.registry = load([SimpleNamespace(audit_training_backends=audit_training_backends)])

    def rehearse(self, checkpoint: str | None = None, **asked: Any) -> RehearsalReport:
        config, trainer = read_train_config(str(self.home / "train.toml"), self.registry)
        return rehearse(config, trainer, self.registry, Asked(checkpoint, **asked), here)

    def recorded(self) -> list[Rehearsed]:
        return [row.event for row in BatchLog(str(self.run)).rows() if isinstance(row.event, Rehearsed)]
