"""Several processes under ``torchrun`` or ``accelerate launch``: process 0 decides and tells the others."""

import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from audit.plugin import Alone, AuditError, BadData, LegFailed, Team, first_line

T = TypeVar("T")
# Process 0 may take long: it verifies gigabytes, or waits for the next file.
PATIENCE = dt.timedelta(days=3650)


class Group:
    """Processes of one torch.distributed group."""

    def __init__(self, rank: int, size: int, group: Any) -> None:
        self.rank, self.size, self._group = rank, size, group

    def share(self, decide: Callable[[], T]) -> T:
        """Call ``decide`` on process 0 and return its value, or raise its AuditError, on every process."""
        import torch

        held: list[Any] = [None]
        with self._there():  # the others must have finished what process 0 looks at, such as a checkpoint
            torch.distributed.barrier(group=self._group)
        if self.rank == 0:
            try:
                held = [("value", decide())]
            except AuditError as error:
                held = [("error", _told(error))]
        with self._there():
            torch.distributed.broadcast_object_list(held, src=0, group=self._group)
        kind, value = held[0]
        if kind == "error":
            raise _error(value)
        return value

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Raise AuditError if another process has ended, which gloo notices at once."""
        try:
            yield
        except RuntimeError as error:
            raise AuditError(
                f"process {self.rank} of {self.size}: another process of this training has ended; what it said last tells "
                f"why; then run the same command to continue from the newest checkpoint ({first_line(error)[:200]})"
            ) from error


@contextmanager
def team(settings: Mapping[str, Any]) -> Iterator[Team]:
    """Join the group in the launcher's environment; a group of one if there is none."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Alone()
        return
    import accelerate
    import torch

    accelerate.PartialState(cpu=on_cpu(settings))
    # Always over gloo: the shared values are small, and NCCL would time out after minutes.
    group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield Group(torch.distributed.get_rank(), torch.distributed.get_world_size(), group)
    finally:
        torch.distributed.destroy_process_group()


def on_cpu(settings: Mapping[str, Any]) -> bool:
    """Whether to train on the CPU: if asked to; a model with random weights unless asked otherwise."""
    asked = settings.get("arguments", {}).get("use_cpu")
    return bool("random" in settings.get("model", {}) if asked is None else asked)


def _told(error: AuditError) -> tuple[Any, ...]:
    if isinstance(error, BadData):
        return ("data", error.path, error.row, error.reason)
    if isinstance(error, LegFailed):
        return ("leg", error.reason, error.kind, error.step)
    return ("audit", str(error))


def _error(told: tuple[Any, ...]) -> AuditError:
    kinds: dict[str, type[AuditError]] = {"data": BadData, "leg": LegFailed}
    return kinds.get(told[0], AuditError)(*told[1:])
