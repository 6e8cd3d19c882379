"""A continuous training in a directory of its own, with the toy backend."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.backend.training import LegRequest, LegResult, Tell, TrainingBackend
from audit.hookspecs import hookimpl
from audit.ledger.store import open_ledger
from audit.manager import load
from audit.training.config import Data, read_train_config
from audit.training.events import Event, as_json
from audit.training.forecast import Forecast, forecast
from audit.training.held_file import PREFIX
from audit.training.loop import TrainOptions, train
from audit.training.process import InChild, here
from tests.audit.training.places import places
from tests.audit.training.toy import Toy, trained_in, write_rows

CONFIG = """
run = "run"
backend = "toy"
[data]
inbox = "inbox"
{data}
[toy]
{toy}
[watch]
settle-seconds = 0
{more}
"""


class Shop:
    """``drop`` files, ``train`` them, look at what happened. Examples are numbers; ``files`` are those dropped."""

    def __init__(
        self, home: Path, data: str = "", toy: str = "per_step = 2", more: str = "", backend: Toy | None = None
    ) -> None:
        self.home, self.run, self.inbox = home, home / "run", home / "inbox"
        self.inbox.mkdir(parents=True)
        (home / "train.toml").write_text(CONFIG.format(data=data, toy=toy, more=more))
        self.backend = backend or Toy()

        @hookimpl
        def audit_training_backends() -> list[Any]:
            return [self.backend]

        self.registry = load([SimpleNamespace(audit_training_backends=audit_training_backends)])
        self.events: list[Mapping[str, Any]] = []

    def drop(self, name: str, examples: list[int]) -> Path:
        return write_rows(self.inbox / name, examples)

    def train(self, **options: Any) -> int:
        """One call of ``audit train``; returns the exit code, raises what it raises."""
        self.events = []
        config, trainer = read_train_config(str(self.home / "train.toml"), self.registry)
        return train(config, trainer, self.registry, self.emit, TrainOptions(**options), run_leg=here)

    def emit(self, event: Event) -> None:
        self.events.append(as_json(event))

    def said(self, kind: str) -> list[Mapping[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def trained(self, step: int | None = None) -> list[int]:
        """Every example in the order in which the newest checkpoint, or that of ``step``, was trained on it."""
        newest = max(self.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        steps = trained_in(self.run / f"checkpoint-{step}" if step else newest)
        return [example for examples in steps for example in examples]

    def names(self, place: str) -> list[str]:
        """What is there, without the second names of held files."""
        home = self.home / place
        found = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
        return [name for name in found if not name.startswith(PREFIX)]


class InThisProcess(InChild):
    """Runs legs here."""

    def __call__(self, trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
        return here(trainer, request, tell)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[..., Shop]:
    def make(**parts: Any) -> Shop:
        return Shop(tmp_path / "shop", **parts)

    return make


def legs(shop: Shop) -> list[Mapping[str, Any]]:
    """The rows of the ledger that say that a leg begins."""
    ledger = open_ledger(str(shop.run), write=False)
    assert ledger is not None
    rows = [row.content for row in ledger.rows() if row.kind == "batch" and row.content["event"] == "leg"]
    ledger.close()
    return rows


def plan(shop: Shop, **options: Any) -> Forecast:
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    return forecast(config, trainer, shop.registry, **options)


@pytest.fixture
def changed(shop: Shop) -> Shop:
    """A run of which the checkpoint does not fit to what the backend now says that it would train."""
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    adapter = {"peft_type": "LORA", "r": 64, "lora_alpha": 8}
    shop.backend.adapter = lambda settings: adapter  # type: ignore[attr-defined]
    shop.drop("b.jsonl", [3, 4])
    return shop


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """An inbox without files."""
    (tmp_path / "inbox").mkdir()
    return places(tmp_path)


@pytest.fixture
def begun(shop: Shop) -> Shop:
    """Two of the four steps of a batch are trained."""
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    shop.train()
    shop.backend.stop_after = None
    return shop
