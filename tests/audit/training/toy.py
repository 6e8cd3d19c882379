"""A training backend without any library: it writes checkpoints as Trainer would, and notes what it trained.

The rows of a file are {"input_ids": [n, n]}, and ``n`` is the example's name. What was trained stands in the state of
the checkpoint, so that a resume knows no more than the checkpoint it resumes from.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from audit.backend.training import Alone, BadData, LegFailed, LegRequest, LegResult, Step, Team, Tell
from audit.data.rows import read_rows
from audit.testing.run_files import Plan
from audit.testing.runs import make_checkpoint

KEY, RATES = "examples_trained", "rates"
POISON = 10**6
"""An example that passes as a row, but that the trainer refuses."""


class Kill(BaseException):
    """The process dies here."""


class Toy:
    """Trains by writing down what it was given. ``tick`` is called before each step and save; it may raise."""

    name = "toy"
    title = "a toy"
    reads_rows = True
    owns_order = True
    evaluates = False
    """Whether its log has evaluations, of each step."""

    def __init__(self, tick: Callable[[str], None] = lambda what: None) -> None:
        self.tick = tick
        self.stop_after: int | None = None

    def schema(self) -> Mapping[str, Mapping[str, Any]]:
        return {"toy": {"type": "object", "properties": {"per_step": {"type": "integer"}}}}

    def check(self, settings: Mapping[str, Any]) -> None:
        """Anything goes."""

    def examples_per_step(self, settings: Mapping[str, Any], processes: int) -> int | None:
        per_step = settings.get("toy", {}).get("per_step", 2)
        return int(per_step) * processes if per_step else None

    def changeable(self, settings: Mapping[str, Any]) -> Mapping[str, float]:
        rate = settings.get("toy", {}).get("rate")
        return {"rate": rate} if rate is not None else {}

    def team(self, settings: Mapping[str, Any]) -> AbstractContextManager[Team]:
        return nullcontext(Alone())

    def train(self, request: LegRequest, tell: Tell) -> LegResult:
        toy = request.settings.get("toy", {})
        every, limit, per_step = toy.get("save_steps", 3), toy.get("limit"), toy.get("per_step", 2)
        done = trained_in(Path(request.resume_from)) if request.resume_from else []
        rates = rates_in(Path(request.resume_from)) if request.resume_from else []
        rate = request.changes.get("rate", rates[-1] if rates else toy.get("rate", 1.0))
        examples = list(ordered(request))
        if POISON in examples:
            rows = [row["input_ids"][0] for _, row in read_rows(request.data.path)]
            raise BadData(request.data.path, rows.index(POISON) + 1, "is poison")
        step, losses = request.first_step, []
        assert request.last_step is not None
        while step < request.last_step:
            self.tick(f"step {step + 1}")
            done = [*done, examples[:per_step]]
            rates = [*rates, rate]
            examples = examples[per_step:]
            step += 1
            losses.append((step, 2.0 / step))
            tell(Step(step, loss=2.0 / step))
            last = step == request.last_step or step == self.stop_after
            if last or step % every == 0:
                self._save(request, step, done, rates, every, limit)
            if last:
                break
        if toy.get("fail"):
            raise LegFailed(toy["fail"], "error", step)
        return LegResult(request.first_step, step, tuple(losses), 15 if step == self.stop_after else None)

    def _save(
        self,
        request: LegRequest,
        step: int,
        done: list[list[int]],
        rates: list[float],
        every: int,
        limit: int | None,
    ) -> None:
        with tempfile.TemporaryDirectory() as aside:
            saves = 1 if self.evaluates else every
            plan = Plan(aside, 4, 1, 10**6, saves, 1, "constant", 1e-3, limit, False, 1, False, self.evaluates, 0)
            made, checkpoint = Path(make_checkpoint(plan, step)), Path(request.run, f"checkpoint-{step}")
            state = made / "trainer_state.json"
            document = {**json.loads(state.read_text()), KEY: done, RATES: rates}
            os.remove(state)
            shutil.copytree(made, checkpoint, dirs_exist_ok=True)
        if (checkpoint / "trainer_state.json").exists():
            os.remove(checkpoint / "trainer_state.json")  # no act of its own: the clock of the chaos counts os.unlink
        self.tick(f"saving {step}")  # killed here the checkpoint is torn: Trainer, too, writes its state last
        (checkpoint / "trainer_state.json").write_text(json.dumps(document))
        self.tick(f"saved {step}")
        names = sorted((name for name in os.listdir(request.run) if name.startswith("checkpoint-")), key=_step)
        for name in names[: -limit if limit else 0]:
            shutil.rmtree(os.path.join(request.run, name))


def ordered(request: LegRequest) -> Iterator[int]:
    """The examples of a leg, by the order that its text asks for."""
    names = [row["input_ids"][0] for _, row in read_rows(request.data.path)]
    whole: list[int] = []
    for epoch in range(request.data.epochs):
        epoch_names = list(names)
        if request.data.order is not None:
            random.Random(f"{request.data.order}:{epoch}").shuffle(epoch_names)
        whole += epoch_names
    yield from whole[request.data.first :]


def trained_in(checkpoint: Path) -> list[list[int]]:
    """What was trained until a checkpoint: the examples of each step."""
    found: list[list[int]] = json.loads((checkpoint / "trainer_state.json").read_text())[KEY]
    return found


def rates_in(checkpoint: Path) -> list[float]:
    """The rate of each step until a checkpoint."""
    found: list[float] = json.loads((checkpoint / "trainer_state.json").read_text())[RATES]
    return found


def write_rows(path: Path, names: list[int]) -> Path:
    path.write_text("".join(json.dumps({"input_ids": [name, name]}) + "\n" for name in names))
    return path


def _step(name: str) -> int:
    return int(name.partition("-")[2]) if name.partition("-")[2].isdigit() else 0


def kill_at(what: str) -> Callable[[str], None]:
    """A tick that kills at the first moment of this name."""
    left = [what]

    def tick(now: str) -> None:
        if now in left:
            left.remove(now)
            raise Kill(now)

    return tick
