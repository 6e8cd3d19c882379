"""The table of configurations, and two ways to put one into it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tests.backends.hf_trainer.fitting import fit, lora, made


class Configuration(NamedTuple):
    """One way to train: what it is in a line, and the function that trains it into a directory."""

    title: str
    train: Callable[[str], object]
    sample: bool = False
    make: Callable[[str], Any] | None = None
    """Makes the Trainer anew, if it is made by :func:`with_arguments`."""


CONFIGURATIONS: dict[str, Configuration] = {}
TRUE_ALARMS = {"moe": {"weights/not-loaded"}}
"""What is found in a run without an accident, and rightly: Trainer does not load the experts of a Mixtral."""

Train = Callable[[str], object]


def configuration(title: str, *, sample: bool = False) -> Callable[[Train], Train]:
    """Put a function into the table under its own name."""

    def add(train: Train) -> Train:
        CONFIGURATIONS[train.__name__] = Configuration(title, train, sample)
        return train

    return add


def with_arguments(
    name: str, title: str, *, sample: bool = False, model: Callable[[], Any] = lora, **more: Any
) -> None:
    """Put a run into the table that differs from the plain LoRA run in ``more`` (see :func:`fitting.fit`)."""
    make = partial(_make, model, more)
    CONFIGURATIONS[name] = Configuration(title, partial(_train, model, more), sample, make)


def _make(model: Callable[[], Any], more: dict[str, Any], run: str) -> Any:
    return made(run, model(), **more)


def _train(model: Callable[[], Any], more: dict[str, Any], run: str) -> None:
    fit(run, model(), **more)
