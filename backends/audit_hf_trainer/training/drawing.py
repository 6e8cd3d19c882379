"""Random numbers that are drawn for a batch: from a seed of its own, so that a continued training draws the same.

accelerate 1.15, ``DataLoaderShard.__iter__``, makes each batch one step ahead. A collator that draws (masked language
modelling) takes its numbers from the generators of the model, and at each save has taken those of the next batch, too:
a resume would draw others for that batch, and for the dropout after it. Workers have generators that begin anew.
A generator that the collator keeps in an attribute is in no checkpoint; it is seeded for each batch, too.
"""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any


class Steady:
    """A collator that draws for each batch from ``seed`` and the batch's number; ``first`` is that of the next one.

    The generators are afterwards as they were before. It goes to spawned workers if ``collate`` does.
    """

    def __init__(self, collate: Callable[[Any], Any], seed: int, first: int) -> None:
        self._collate, self._seed, self._first = _without_seed(collate), seed, first
        self._calls = 0

    def __call__(self, rows: Any) -> Any:
        """Return the batch of these rows."""
        import torch

        worker = torch.utils.data.get_worker_info()  # workers take turns, each with a counter of its own
        calls = self._calls if worker is None else self._calls * worker.num_workers + worker.id
        self._calls += 1
        with _generators_kept():
            _seed(f"{self._seed} {self._first + calls}", self._collate)
            return self._collate(rows)


def draws(read: Callable[[], object]) -> bool:
    """Whether a call draws from the generators, which are afterwards as they were before."""
    with _generators_kept():
        before = generators()
        read()
        return generators() != before


def _without_seed(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one that draws from the generators of torch and numpy, if a ``seed`` makes it draw from its own.

    transformers 5.24, ``DataCollatorForLanguageModeling``: it makes its generator at the first batch. The evaluation
    keeps the collator as it is.
    """
    if getattr(collate, "seed", None) is None or not hasattr(collate, "create_rng"):
        return collate
    copied: Any = copy.copy(collate)
    copied.seed = copied.generator = None
    return copied


def _seed(text: str, collate: Callable[[Any], Any]) -> None:
    import numpy as np
    import torch

    random.seed(text)  # of a text Python uses each bit
    np.random.seed(random.getrandbits(32))
    torch.default_generator.manual_seed(random.getrandbits(63))
    for own in getattr(collate, "__dict__", {}).values():
        bits = random.getrandbits(32)
        if isinstance(own, torch.Generator):
            own.manual_seed(bits)
        elif isinstance(own, random.Random | np.random.RandomState):
            own.seed(bits)
        elif isinstance(own, np.random.Generator):
            own.bit_generator.state = type(own.bit_generator)(bits).state


def generators() -> tuple[Any, ...]:
    """Return the states of the generators of Python, numpy and torch on the CPU, as values that can be compared."""
    import numpy as np
    import torch

    numbers: Any = np.random.get_state(legacy=True)
    return random.getstate(), (numbers[0], numbers[1].tobytes(), *numbers[2:]), torch.get_rng_state().numpy().tobytes()


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    import numpy as np
    import torch

    kept = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
