"""What engines with futures share: so many batches are under way, and a batch that is lost has rows that say so."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from audit.errors import AuditError
from audit.fleet.engines import Part
from audit.fleet.one_run import failed_all
from audit.fleet.rows import Audited
from audit.fleet.tasks import Batch, Order
from audit.text import first_line


def through(
    batches: Iterator[Batch],
    order: Order,
    most: int,
    submit: Callable[[Batch], Any],
    next_of: Callable[[list[Any]], Any],
    result: Callable[[Any], list[Any]],
) -> Iterator[Part]:
    """Keep ``most`` batches under way: ``submit`` gives a future, ``next_of`` one that is done, ``result`` its rows.

    What the engine raises after its own retries is the error of each run of the batch. Raises AuditError as it is.
    """
    pending: dict[Any, Batch] = {submit(batch): batch for batch in islice(batches, most)}
    while pending:
        future = next_of(list(pending))
        batch = pending.pop(future)
        try:
            rows = [Audited.read(document) for document in result(future)]
        except AuditError:
            raise
        except Exception as error:
            rows = list(failed_all(batch.tasks, order, f"{type(error).__name__}: {first_line(error)}"))
        yield batch.number, rows
        pending.update((submit(batch), batch) for batch in islice(batches, 1))
