"""plan/disk."""

from collections.abc import Iterator

from audit.plugin import Plan, Severity, Space, Violation, human_bytes, rule


@rule(
    Severity.ERROR,
    remedy="Free space, set save_total_limit, save less often, or move the run to a larger volume.",
)
def disk(plan: Plan, space: Space, *, spare: float = 0.02) -> Iterator[Violation]:
    """The planned checkpoints do not fit on the volume of the run.

    A full disk is the most common cause of a partial checkpoint. The need is that of the worst moment: Trainer deletes
    old checkpoints only after a new one is written, so there is one more than ``save_total_limit``, and the checkpoint
    that a leg began with is kept (hard links, not a copy) until the leg is proven. Without a limit all of them stay.
    The size of a checkpoint is that of the newest, or the estimate of the backend; it is compared with what is free to
    this user, in bytes and inodes.

    ``spare`` is a share of the need, added for the ledger and the logs. Quotas are not known.
    """
    need, free = space.need, space.free
    if need.bytes * (1 + spare) > free.bytes:
        yield Violation(
            f"The planned checkpoints need {human_bytes(need.bytes)}, and {human_bytes(free.bytes)} are free: {space.saves} will be "
            f"saved, of {human_bytes(space.one.bytes)} each ({space.source}), "
            f"{f'and {space.limit} kept' if space.limit else 'and none is deleted'}",
            expected=need.bytes,
            actual=free.bytes,
        )
    if free.inodes is not None and need.inodes * (1 + spare) > free.inodes:
        yield Violation(
            f"The planned checkpoints need {need.inodes} files and directories, and the file system has room for {free.inodes}",
            expected=need.inodes,
            actual=free.inodes,
        )
