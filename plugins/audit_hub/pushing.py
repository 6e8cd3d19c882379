"""``audit hub push``: queue one checkpoint or take what waits, work the queue off, delete here what is proven there."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from audit.plugin import (
    AuditError,
    Options,
    PushedFile,
    RefusedError,
    Registry,
    discard_checkpoint,
    human_bytes,
    load_plugins,
    locate_run,
    prove_run,
    scratch_directory,
    seal_now,
)
from audit_hub.process import ask
from audit_hub.queue import Push, enqueue, planned, pushes_of, record
from audit_hub.settings import Settings
from audit_hub.turn import turn
from audit_hub.working import Patience, Say, conclude, deadline_of, job_of, known_of, said_of, still_there, work


class Done(NamedTuple):
    """The pushes that were asked for as they are now, and lines that say what else was done."""

    pushes: tuple[Push, ...]
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def push(
    run: str,
    checkpoint: str | None,
    settings: Settings,
    patience: Patience,
    options: Options,
    *,
    pending: bool = False,
    delete_local: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Say = lambda _, text: None,
) -> Done:
    """Push a checkpoint, by default the newest proven one, or all that wait.

    ``delete_local`` removes it from the run when every byte of it was read back from the Hub. Raises RefusedError: it
    is not proven, has a secret in it, or another process works on the queue. Raises AuditError.
    """
    registry = load_plugins()
    root, only = locate_run(run)
    checkpoint = checkpoint or (only[0] if only else None)
    notes: tuple[str, ...] = ()
    unsaid = False
    if pending:
        asked = [item for item in pushes_of(root) if not item.done]
        if settings.depth == "full" and not dry_run:
            for item in asked:
                _ask_for_bytes(root, item)
    else:
        queued = enqueue(root, checkpoint, settings, options, registry, progress, dry_run=dry_run)
        asked, notes = [queued.push], queued.notes
        if not queued.new and queued.push.done:
            unsaid = delete_local and not dry_run and queued.push.state.state == "verified"  # compared first, said then
            if not unsaid:
                say(queued.push, known_of(root, queued.push))
    everything = pushes_of(root)
    if dry_run:
        known = {item.queued.id for item in everything}
        lines = [_would(item) for item in asked if not item.done]
        total = planned([*everything, *(item for item in asked if item.queued.id not in known)])
        nobody = nobody_logged_in()
        return Done(tuple(asked), (*lines, total), (*notes, nobody) if nobody is not None else notes)
    ids = {item.queued.id for item in asked}
    if any(not item.done for item in asked):
        work(root, patience, say, ids)
    now = tuple(item for item in pushes_of(root) if item.queued.id in ids)
    deleted, more = _delete(root, now, patience, options, registry, say) if delete_local else ((), ())
    if delete_local:
        now = tuple(item for item in pushes_of(root) if item.queued.id in ids)
    for item in now if unsaid else ():
        if item.state.state == "verified":
            say(item, still_there(item) if deleted else known_of(root, item))
    lines = [f"deleted  {os.path.join(root, name)}" for name in deleted]
    if not now:
        lines.append("nothing waits")
    return Done(now, tuple(lines), (*notes, *more), deleted)


def nobody_logged_in() -> str | None:
    """Say why a push would not be made from here, None if there is a token; the Hub is not asked whether it is good."""
    try:
        from audit_hub.client import NOBODY, token
    except ImportError as error:
        return f"{error.name} is not installed: pip install 'checkpoint-audit[hub]'"
    return f"{NOBODY} ({{user}} is the one who is)" if token() is None else None


def _would(push: Push) -> str:
    queued = push.queued
    where = "/".join(part for part in (push.repo, queued.folder) if part)
    branch = f", branch {queued.branch}" if queued.branch != "main" else ""
    kind = "private" if queued.private else "public"
    size = f"{len(queued.files)} files, {human_bytes(queued.bytes)}"
    return f"would push  {queued.checkpoint}  {where}  ({size}{branch}; {kind}, if the repository is new)"


def _ask_for_bytes(run: str, push: Push) -> None:
    if not push.queued.read_back:
        record(run, push.queued._replace(read_back=True))
        record(run, push.state)


def _is_still_there(run: str, push: Push, patience: Patience, say: Say) -> bool:
    """Whether the branch holds now what was read back, so that a pull finds it. Raises RefusedError, AuditError."""
    with turn(run, False) as lock, scratch_directory(run, f"hub-{push.queued.id}") as scratch:
        job = job_of(run, push, os.path.abspath(scratch)) | {"job": "verify", "read_back": False}
        answer = ask(job, deadline_of(0, patience), lock)
        if answer["state"] == "wrong":
            after = conclude(run, push, answer)
            say(after, said_of(after))
            return False
    if answer["state"] != "pushed":
        name = push.queued.checkpoint
        raise AuditError(f"{push.repo}: {name} is not deleted here, since the Hub cannot be asked: {answer['reason']}")
    return True


def _delete(
    run: str, pushes: Sequence[Push], patience: Patience, options: Options, registry: Registry, say: Say
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Delete those that were read back, if what is in the run is what was pushed; also what there is to know then.

    A branch may have been changed since it was read back: it is compared once more. Raises RefusedError; AuditError if
    the Hub cannot be asked.
    """
    deleted, notes = [], []
    for item in pushes:
        name = item.queued.checkpoint
        if item.state.state != "verified" or not os.path.isdir(os.path.join(run, name)):
            continue
        proof = prove_run(run, options, registry)
        here = next((found for found in proof.run.checkpoints if found.name == name), None)
        files = {path: PushedFile(*file) for path, file in seal_now(here).files.items()} if here is not None else None
        if files != dict(item.queued.files):
            raise RefusedError(f"{run}: {name} is not what was pushed to {item.repo} any more, so it is not deleted")
        if not _is_still_there(run, item, patience, say):
            continue
        branch = f"@{item.queued.branch}" if item.queued.branch != "main" else ""
        discard_checkpoint(run, name, options, registry=registry, elsewhere=f"{item.repo}{branch}")
        deleted.append(name)
        if here is not None and here.step == proof.run.highest:
            notes.append(f"{name} was the newest: audit guard hands out an older one until it is pulled back")
    return tuple(deleted), tuple(notes)
