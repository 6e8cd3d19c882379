"""Engines: each is one function from batches to rows, in whatever order they come."""

from collections.abc import Callable, Iterator
from importlib import import_module

from audit.errors import AuditError
from audit.fleet.rows import Audited
from audit.fleet.tasks import Batch, Order

Part = tuple[int, list[Audited]]
"""The rows of one batch, with its number."""

Engine = Callable[[Iterator[Batch], Order, int], Iterator[Part]]
"""``audit(batches, order, workers)``. Batches are taken only as they can be worked on."""

NAMES = ("local", "ray", "dask")
LIST = "list"
"""The engine that does nothing: it writes shards, each for a command of its own."""


def engine(name: str) -> Engine:
    """Return an engine by its name. Raises AuditError, with what to install, if its library is missing."""
    try:
        found: Engine = import_module(f"audit.fleet.engines.{name}").audit
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("audit"):
            raise
        raise AuditError(
            f'--engine {name} needs {error.name}; install it with: pip install "checkpoint-audit[{name}]"'
        ) from error
    return found
