"""The pushes of a run, as the rows of its ledger tell them; a row is added when a proven checkpoint is to be pushed.

A push is queued once: the same files to the same template are the same push, whatever the time in its name.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from audit.plugin import (
    ITSELF,
    AuditError,
    Checkpoint,
    GoingBack,
    LedgerError,
    Options,
    Proof,
    PushedFile,
    PushQueued,
    PushState,
    RefusedError,
    Registry,
    checkpoint_name,
    clear_outbox,
    human_bytes,
    listed,
    load_plugins,
    locate_run,
    open_ledger,
    prove_run,
    put_in_outbox,
    seal_now,
    secret_hint,
)
from audit_hub.manifest import stored_name
from audit_hub.settings import Settings, target_of

DONE = ("verified", "removed", "refused")


class Push(NamedTuple):
    """A push and its newest state.

    ``given_up``: the checkpoint that the run went back to after it was queued (``audit train --back-to``), so that this
    one is not of its history any more; empty if it is.
    """

    queued: PushQueued
    state: PushState
    time: str
    given_up: str = ""

    @property
    def repo(self) -> str:
        """The repository: as the Hub knows it, once it was reached."""
        return self.state.repo or self.queued.repo

    @property
    def done(self) -> bool:
        """Whether nothing is to be done for it."""
        read_back = self.queued.read_back
        return self.state.state in DONE or (self.state.state == "pushed" and not read_back)

    @property
    def on_hub(self) -> bool:
        """Whether it is there, as far as is known."""
        return self.state.state in ("pushed", "verified", "wrong")


class Queued(NamedTuple):
    """What became of a request to push; ``new``: it was not queued before. ``notes`` are worth knowing."""

    push: Push
    new: bool
    notes: tuple[str, ...] = ()


def pushes_of(run: str) -> list[Push]:
    """Return all pushes of a run in the order in which they were queued. Raises LedgerError.

    What waits when the run goes back to an earlier step is refused: it may have been trained on data that was dropped.
    """
    ledger = open_ledger(run, False)
    if ledger is None:
        return []
    try:
        rows = ledger.rows()
    finally:
        ledger.close()
    found: dict[str, Push] = {}
    for row in rows:
        event = row.event
        if isinstance(event, PushQueued):
            found[event.id] = Push(event, PushState(event.id, "waiting"), row.time)
        elif isinstance(event, PushState) and event.id in found:
            before = found[event.id].state
            files = before.files if event.files is None else event.files
            state = event._replace(repo=event.repo or before.repo, commit=event.commit or before.commit, files=files)
            found[event.id] = found[event.id]._replace(state=state)
        elif isinstance(event, GoingBack):
            for id, push in found.items():
                if push.queued.step > event.step:
                    found[id] = push._replace(given_up=event.checkpoint)
    return [_refused_if_waiting(push) if push.given_up else push for push in found.values()]


def _refused_if_waiting(push: Push) -> Push:
    """The push of a checkpoint that was given up: refused, unless it is on the Hub already."""
    if push.state.state not in ("waiting", "stuck"):
        return push
    reason = f"it was given up when the run went back to {push.given_up}"
    return push._replace(state=push.state._replace(state="refused", next=None, reason=reason))


def record(run: str, event: PushQueued | PushState) -> None:
    """Add a row, which is on the disk when this returns. Raises LedgerError."""
    ledger = open_ledger(run, True)
    if ledger is None or not ledger.writable:
        raise LedgerError(f"{run}: the ledger cannot be written")
    try:
        ledger.append(event, durable=True)
    finally:
        ledger.close()


def release(run: str) -> None:
    """Delete what is kept for pushes that are done. Raises AuditError."""
    pushes = pushes_of(run)
    done = {_content(item.queued) for item in pushes if item.done}
    clear_outbox(
        run,
        {
            item.queued.id
            for item in pushes
            if not item.done and not (item.state.state == "wrong" and _content(item.queued) in done)
        },
    )


def enqueue(
    run: str,
    name: str | None,
    settings: Settings,
    options: Options | None = None,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    dry_run: bool = False,
) -> Queued:
    """Queue the push of a checkpoint, by default the newest proven one, and keep its files until it is done.

    What was verified and has not changed is not read again. With ``dry_run`` nothing is recorded. Raises RefusedError:
    it is not proven, or has a secret in it; ConfigError for a template; AuditError.
    """
    root, only = locate_run(run)
    if only:
        name, run = name or only[0], root
    plugins = registry or load_plugins()
    proof = prove_run(run, options or Options(), plugins, record=not dry_run, progress=progress)
    checkpoint = _chosen(run, name, proof)
    over = proof.passed_over(checkpoint) if name is None else ()
    _refuse_secrets(run, checkpoint)
    files = {path: PushedFile(*file) for path, file in seal_now(checkpoint).files.items()}
    if ITSELF in files:
        raise RefusedError(f"{run}: {checkpoint.name} is one file; only checkpoints that are directories are pushed")
    for path in files:
        stored_name(path)
    queued, push = _queued(run, checkpoint, settings, files, dry_run)
    if push is not None or dry_run:
        return Queued(push or Push(queued, PushState(queued.id, "waiting"), ""), push is None, over)
    record(run, queued)  # first: who works on the queue right now deletes what is kept for no push
    note = put_in_outbox(run, queued.id, checkpoint.name)
    notes = (*over, note) if note is not None else over
    return Queued(Push(queued, PushState(queued.id, "waiting"), ""), True, notes)


def _chosen(run: str, name: str | None, proof: Proof) -> Checkpoint:
    there, proven = proof.run.checkpoints, proof.proven
    if name is None:
        if not proven:
            raise RefusedError(f"{run}: {proof.nothing_proven}")
        return max(proven, key=lambda item: item.step)
    found = next((item for item in there if is_named(name, item.name, item.step)), None)
    if found is None:
        wanted = checkpoint_name(int(name)) if is_number(name) else name.rstrip("/").rpartition("/")[2]
        raise AuditError(f"{run}/{wanted}: no such checkpoint; there: {listed([item.name for item in there])}")
    if found not in proven:
        why = next((f": {why}" for name, why in proof.unproven(found.step) if name == found.name), "")
        raise RefusedError(f"{run}: {found.name} is not proven, so it is not pushed{why}; see audit verify {run}")
    return found


def is_named(asked: str, name: str, step: int) -> bool:
    """Whether a checkpoint is the one that was asked for: by its step, its name, or a path that ends with that."""
    return int(asked) == step if is_number(asked) else asked.rstrip("/").rpartition("/")[2] == name


def is_number(text: str) -> bool:
    """Whether a checkpoint is asked for by its step."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _refuse_secrets(run: str, checkpoint: Checkpoint) -> None:
    secrets = checkpoint.optional("secrets")
    if secrets is None:
        raise RefusedError(f"{run}: {checkpoint.name} cannot be searched for secrets, so it is not pushed")
    for path, where, secret in secrets:
        raise RefusedError(
            f"{run}: {checkpoint.name}/{path} has what looks like a secret{where} ({secret_hint(secret)}), so it is not "
            "pushed; revoke it, and train without it (HF_TOKEN in the environment)"
        )


def _queued(
    run: str, checkpoint: Checkpoint, settings: Settings, files: Mapping[str, PushedFile], dry_run: bool
) -> tuple[PushQueued, Push | None]:
    """The push of a checkpoint, and the same one if it was queued before and need not be made again."""
    from blake3 import blake3

    target = target_of(settings, run, checkpoint.step)
    known = pushes_of(run)
    content = [checkpoint.name, sorted((path, *file) for path, file in files.items()), settings.template]
    for number in range(len(known) + 1):
        id = blake3(json.dumps([content, settings.prefix, number]).encode("utf-8", "surrogatepass")).hexdigest(8)
        before = next((item for item in known if item.queued.id == id), None)
        full = settings.depth == "full"
        if before is not None and before.state.state in ("wrong", "removed", "refused"):
            continue
        private = not settings.public
        queued = PushQueued(id, checkpoint.name, checkpoint.step, *target, private, files, full)
        if before is not None and full and not before.queued.read_back:
            before = before._replace(queued=before.queued._replace(read_back=True))
            if not dry_run:
                record(run, before.queued)
                record(run, before.state)
        return queued, before
    raise AuditError(f"{run}: the queue of pushes cannot be read")


def _content(queued: PushQueued) -> tuple[str, tuple[tuple[str, PushedFile], ...]]:
    return queued.checkpoint, tuple(sorted(queued.files.items()))


def newest_of(pushes: Iterable[Push]) -> list[Push]:
    """Return the pushes that are on the Hub, as far as is known.

    Of those in one place, such as one that was wrong and was pushed again, it is the newest.
    """
    by_place = {(item.repo, item.queued.folder, item.queued.branch): item for item in pushes if item.on_hub}
    return list(by_place.values())


def planned(pushes: Iterable[Push]) -> str:
    """Return in words how much is on the Hub, and how much is still to come."""
    pushes = list(pushes)
    there = newest_of(pushes)
    coming = [item for item in pushes if not item.done and not item.on_hub]
    private = sum(item.queued.bytes for item in (*there, *coming) if item.queued.private)
    text = f"on the Hub: {human_bytes(sum(item.queued.bytes for item in there))} in {_count(there)}"
    if coming:
        text += f"; to be pushed: {human_bytes(sum(item.queued.bytes for item in coming))} in {_count(coming)}"
    return f"{text}; {human_bytes(private)} of it counts against the account's private storage"


def _count(pushes: Sequence[Push]) -> str:
    return f"{len(pushes)} checkpoint{'s' * (len(pushes) != 1)}"
