"""Random numbers that are drawn for a batch: from a seed of its own, so that a continued training draws the same.

accelerate 1.15, ``DataLoaderShard.__iter__``, makes each batch one step ahead. A collator that draws (masked language
modelling) takes its numbers from the generators of the model, and at each save has taken those of the next batch, too:
a resume would draw others for that batch, and for the dropout after it. Workers have generators that begin anew.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any


def steady(collate: Callable[[Any], Any], seed: int, first: int) -> Callable[[Any], Any]:
    """Return a collator that draws for each batch from ``seed`` and the batch's number; ``first`` is that of the next.

    The generators are afterwards as they were before.
    """
    import torch

    calls = 0

    def drawn(rows: Any) -> Any:
        nonlocal calls
        worker = torch.utils.data.get_worker_info()  # workers take turns, each with a counter of its own
        number = first + (calls if worker is None else calls * worker.num_workers + worker.id)
        calls += 1
        with _generators_kept():
            _seed(f"{seed} {number}")
            return collate(rows)

    return drawn


def draws(read: Callable[[], object]) -> bool:
    """Whether a call draws from the generators, which are afterwards as they were before."""
    with _generators_kept():
        before = _states()
        read()
        return _states() != before


def _seed(text: str) -> None:
    import numpy as np
    import torch

    random.seed(text)  # of a text Python uses each bit
    np.random.seed(random.getrandbits(32))  # noqa: NPY002  the generator that collators use
    torch.default_generator.manual_seed(random.getrandbits(63))


def _states() -> tuple[Any, ...]:
    import numpy as np
    import torch

    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  the same
    return random.getstate(), (kind, bytes(words), *rest), torch.get_rng_state().numpy().tobytes()


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    import numpy as np
    import torch

    kept = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()  # noqa: NPY002  the same
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002  the same
        torch.set_rng_state(kept[2])
