"""Work off the queue of a run: one push after the other, each in a process of its own with a deadline.

Every state is a row of the ledger before anything follows from it, so that this process may be killed at any moment.
"""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from audit.plugin import (
    AuditError,
    PushedFile,
    PushState,
    human_bytes,
    place_in_outbox,
    put_in_outbox,
    scratch_directory,
    unix_time,
    utc_time,
)
from audit_hub.process import ask
from audit_hub.queue import Push, pushes_of, record, release
from audit_hub.settings import BYTES_PER_SECOND, DEADLINE_SECONDS
from audit_hub.turn import turn

FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0
"""Seconds before a push is tried again; each pause is twice the one before."""

Say = Callable[[Push, str], None]


class Patience(NamedTuple):
    """``wait``: how many seconds to go on trying. ``deadline``: seconds of one try, None: by its size.

    ``now``: begin with a try of everything, whenever the next one is due. ``pause``: seconds before the second try.
    """

    wait: float = 0.0
    deadline: float | None = None
    now: bool = True
    pause: float = FIRST_PAUSE


def work(run: str, patience: Patience, say: Say, wanted: set[str] | None = None, *, background: bool = False) -> None:
    """Try each push that is not done, or those of the ids ``wanted``, until all are or the patience is at its end.

    What only a person can help with is tried once. Raises RefusedError if another process does it already, unless this
    is in the ``background``: then it waits for its turn. Raises AuditError.
    """
    with turn(run, background) as lock:
        if lock is None:
            return
        begun, tried = time.monotonic(), set[str]()
        while True:
            release(run)
            waiting = [
                item for item in pushes_of(run) if not item.done and (wanted is None or item.queued.id in wanted)
            ]
            left = [item for item in waiting if item.state.state not in ("stuck", "wrong")]
            now = time.time()
            first = [item for item in waiting if item.queued.id not in tried and item.state.state != "wrong"]
            due = first if patience.now else [item for item in first if _due(item) <= now]
            due = due or [item for item in left if _due(item) <= now and item.queued.id in tried]
            for item in due:
                tried.add(item.queued.id)
                _keep(run, item)
                _try(run, item, patience, lock, say)
            if due:
                continue
            soonest = min((_due(item) for item in left), default=None)
            if soonest is None or time.monotonic() - begun + max(0.0, soonest - now) > patience.wait:
                return
            time.sleep(min(max(0.05, soonest - now), 5.0))


def _keep(run: str, push: Push) -> None:
    """Keep the files of a push, if who queued it was killed before it could."""
    name = push.queued.checkpoint
    if os.path.isdir(os.path.join(run, name)):
        put_in_outbox(run, push.queued.id, name)


def deadline_of(bytes: int, patience: Patience) -> float:
    """Return how many seconds a job on so many bytes may take."""
    return patience.deadline or DEADLINE_SECONDS + bytes / BYTES_PER_SECOND


def job_of(run: str, push: Push, scratch: str) -> dict[str, Any]:
    """Return the job that brings a push further: upload it, or compare what its branch holds now.

    ``vouched``: at the commit that is ``recorded`` all was right.
    """
    queued, state = push.queued, push.state
    source = place_in_outbox(run, queued.id, queued.checkpoint)
    if not os.path.isdir(source):
        source = os.path.join(run, queued.checkpoint)
    verifying = state.state in ("pushed", "verified", "wrong") and state.files is not None
    files = state.files if verifying else queued.files
    return {
        "job": "verify" if verifying else "push",
        "checkpoint": queued.checkpoint,
        "step": queued.step,
        "repo": push.repo,
        "folder": queued.folder,
        "branch": queued.branch,
        "recorded": state.commit if verifying else None,
        "vouched": state.state in ("pushed", "verified"),
        "private": queued.private,
        "files": {path: list(file) for path, file in (files or {}).items()},
        "source": os.path.abspath(source),
        "stage": os.path.join(scratch, "stage"),
        "scratch": scratch,
        "read_back": queued.read_back,
    }


def conclude(run: str, push: Push, answer: dict[str, Any], pause: float = FIRST_PAUSE) -> Push:
    """Record what became of a try, and return the push as it is now. Raises AuditError."""
    tries, state = push.state.tries + 1, answer["state"]
    next_ = None
    if state == "waiting":
        seconds = max(answer.get("retry_after") or 0.0, min(pause * 2 ** min(tries - 1, 20), LONGEST_PAUSE))
        next_ = utc_time(time.time() + seconds + 1)
    files = answer.get("files")
    # Of one that is wrong now it stays known where it was right.
    commit = push.state.commit if state == "wrong" and push.state.commit else answer.get("commit")
    new = PushState(
        push.queued.id,
        state,
        tries,
        next_,
        answer.get("reason"),
        answer.get("repo") or push.state.repo,
        commit or push.state.commit,
        {path: PushedFile(*file) for path, file in files.items()} if files is not None else None,
    )
    record(run, new)
    return push._replace(state=new._replace(files=new.files or push.state.files))


def _try(run: str, push: Push, patience: Patience, lock: int, say: Say) -> None:
    bytes = push.queued.bytes * (2 if push.queued.read_back else 1)
    try:
        with scratch_directory(run, f"hub-{push.queued.id}") as scratch:
            os.mkdir(os.path.join(scratch, "stage"))
            answer = ask(job_of(run, push, os.path.abspath(scratch)), deadline_of(bytes, patience), lock)
    except OSError as error:
        raise AuditError(f"{run}: nothing can be prepared for the upload: {error.strerror or error}") from error
    after = conclude(run, push, answer, patience.pause)
    release(run)
    say(after, said_of(after, answer.get("url")))


def said_of(push: Push, url: str | None = None) -> str:
    """Return in one line what became of a push."""
    state, name = push.state, push.queued.checkpoint
    size = human_bytes(push.queued.bytes)
    proofs = {
        "pushed": "size and digest of every file as the Hub has recorded them; its bytes were not read back",
        "verified": "every byte read back",
    }
    if state.state in proofs:
        return f"{state.state}  {name}  {url or push.repo}  ({size}; {proofs[state.state]})"
    if state.state == "waiting":
        return f"waiting  {name}  {state.reason}; tried {_times(state.tries)}, again after {state.next}"
    return f"{state.state}  {name}  {push.repo}: {state.reason}"


def known_of(run: str, push: Push) -> str:
    """Return in one line what the ledger knows of a push that is done: the Hub was not asked."""
    size = human_bytes(push.queued.bytes)
    return (
        f"{push.state.state}  {push.queued.checkpoint}  {push.repo}  ({size}; before, says the ledger, and the Hub was not "
        f"asked again: audit hub verify {push.repo} --run {run})"
    )


def still_there(push: Push) -> str:
    """Return in one line that a push was read back before, and is there now."""
    size = human_bytes(push.queued.bytes)
    return (
        f"verified  {push.queued.checkpoint}  {push.repo}  ({size}; every byte was read back before, and its branch has "
        "the same files now)"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _due(push: Push) -> float:
    return (unix_time(push.state.next) if push.state.next else None) or 0.0
