"""Remove old pushes of a run from the Hub, and never before the ones that stay were looked at there."""

import os
from typing import NamedTuple

from audit.plugin import AuditError, RefusedError
from audit_hub.process import ask
from audit_hub.queue import Push, pushes_of
from audit_hub.turn import turn
from audit_hub.working import Patience, conclude, deadline_of, job_of


class Pruned(NamedTuple):
    """What was removed and kept, or would be; ``local``: the names of checkpoints that are still in the run."""

    removed: tuple[Push, ...]
    kept: tuple[Push, ...]
    local: frozenset[str]


def prune(run: str, keep: int, patience: Patience, *, dry_run: bool = False) -> Pruned:
    """Remove all but the pushes of the ``keep`` newest steps.

    What is wrong there, or was given up by the run, does not count as one of them, and goes when it is older than all
    of them. Those that stay are compared with their seals first, as their branches are now. Raises RefusedError, and
    nothing is removed, if one of them is not what was pushed, or another process works on the queue; AuditError if the
    Hub cannot be asked.
    """
    there = sorted((item for item in pushes_of(run) if item.on_hub), key=lambda item: item.queued.step)
    good = [item for item in there if item.state.state != "wrong" and not item.given_up]
    steps = sorted({item.queued.step for item in good})[-keep:]
    kept = tuple(item for item in good if item.queued.step in steps)
    removed = tuple(item for item in there if item not in kept and (not steps or item.queued.step < steps[0]))
    if len(steps) < keep:
        removed = ()
    local = frozenset(name for name in os.listdir(run) if os.path.isdir(os.path.join(run, name)))
    if dry_run or not removed:
        return Pruned(removed, kept, local)
    with turn(run, False) as lock:
        for item in kept:
            job = job_of(run, item, "") | {"job": "verify", "read_back": False}
            answer = ask(job, deadline_of(0, patience), lock)
            if answer["state"] != "pushed":
                raise RefusedError(
                    f"{item.repo}: {item.queued.checkpoint} would be kept, but {answer.get('reason')}; nothing is removed "
                    f"(audit hub verify {item.repo} --run {run} records it, and audit hub push then pushes it again)"
                )
        gone: list[Push] = []
        for item in removed:
            answer = ask(job_of(run, item, "") | {"job": "remove"}, deadline_of(0, patience), lock)
            if answer["state"] != "removed":
                done = f"; {len(gone)} others were removed" if gone else ""
                raise AuditError(f"{item.repo}: cannot be removed: {answer.get('reason')}{done}")
            gone.append(conclude(run, item, answer))
    return Pruned(tuple(gone), kept, local)
