"""plan/disk."""

from collections.abc import Iterator

from audit.plugin import Plan, Severity, Space, Violation, human_bytes, rule


@rule(
    Severity.ERROR,
    remedy="Make room, set save_total_limit, save less often, or put the run on a larger volume.",
)
def disk(plan: Plan, space: Space, *, spare: float = 0.02) -> Iterator[Violation]:
    """The checkpoints to come do not fit on the volume of the run.

    A full disk is the most common way in which a checkpoint is torn. Needed is what the worst moment takes: Trainer
    deletes old checkpoints only after a new one is written, so there is one more than ``save_total_limit``; and the
    checkpoint that a leg began with is held (hard links, no copy) until the leg is proven. Without a limit all of them
    stay. One checkpoint is as large as the newest, or as the backend estimates; compared with what is free to this
    user, in bytes and inodes.

    ``spare`` is added for what else is written, the ledger and the logs: a share of the need. Quotas are not seen.
    """
    need, free = space.need, space.free
    if need.bytes * (1 + spare) > free.bytes:
        yield Violation(
            f"The checkpoints to come need {human_bytes(need.bytes)}, and {human_bytes(free.bytes)} are free: {space.saves} will be "
            f"saved, of {human_bytes(space.one.bytes)} each ({space.source}), "
            f"{f'and {space.limit} kept' if space.limit else 'and none is deleted'}",
            expected=need.bytes,
            actual=free.bytes,
        )
    if free.inodes is not None and need.inodes * (1 + spare) > free.inodes:
        yield Violation(
            f"The checkpoints to come need {need.inodes} files and directories, and the file system has room for {free.inodes}",
            expected=need.inodes,
            actual=free.inodes,
        )
