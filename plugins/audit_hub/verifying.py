"""``audit hub verify``: a repository against the seal in it, or against the one in a run's ledger."""

from typing import Any, NamedTuple

from audit.plugin import AuditError, human_bytes, scratch_directory
from audit_hub.process import ask
from audit_hub.pulling import answered, found_in, split_repo
from audit_hub.queue import Push, newest_of, pushes_of
from audit_hub.turn import turn
from audit_hub.working import Patience, conclude, deadline_of, job_of


class Verified(NamedTuple):
    """A checkpoint in a repository; ``problem``: in what it differs, None if it does not. ``read_back``: every byte."""

    checkpoint: str
    repo: str
    folder: str
    commit: str
    bytes: int
    read_back: bool
    problem: str | None

    @property
    def line(self) -> str:
        """What is said of it."""
        where = "/".join(part for part in (self.repo, self.folder) if part)
        if self.problem is not None:
            return f"wrong  {self.checkpoint}  {where}: {self.problem}"
        size = human_bytes(self.bytes)
        if self.read_back:
            return f"verified  {self.checkpoint}  {where}  ({size}; every byte read back)"
        return (
            f"recorded  {self.checkpoint}  {where}  ({size}; size and digest of every file as the Hub has recorded "
            "them; its bytes were not read back: --depth full)"
        )


def verify(
    named: str, checkpoint: str | None, patience: Patience, *, run: str | None = None, read_back: bool = False
) -> list[Verified]:
    """Verify one checkpoint of a repository, or all of them.

    With ``run`` the seal is that of its ledger, and the result is recorded there. Compared is what the branch holds
    now; at a commit that is named nothing is recorded, as it says nothing of the branch. Raises AuditError if the Hub
    cannot be asked or there is no such checkpoint; RefusedError if another process works on the run's queue.
    """
    if run is not None:
        return _of_run(named, checkpoint, patience, run, read_back)
    found, chosen = found_in(named, checkpoint, patience)
    there = [chosen] if checkpoint is not None else found["checkpoints"]
    repo, revision = split_repo(named)
    results = []
    for item in there:
        job = {"job": "verify", "repo": repo, "branch": revision, "commit": found["commit"], "folder": item["folder"]}
        seconds = deadline_of(item["bytes"] if read_back else 0, patience)
        results.append(
            _result(answered(job | {"read_back": read_back, "scratch": None}, seconds), item["bytes"], read_back)
        )
    return results


def _of_run(named: str, checkpoint: str | None, patience: Patience, run: str, read_back: bool) -> list[Verified]:
    repo, revision = split_repo(named)
    known = [item for item in newest_of(pushes_of(run)) if item.repo == repo and item.state.files is not None]
    chosen = [
        item
        for item in known
        if checkpoint in (None, item.queued.checkpoint, str(item.queued.step))
        and ("@" not in named or revision in (item.queued.branch, item.state.commit))
    ]
    if not chosen:
        raise AuditError(f"{run}: has pushed no such checkpoint to {named}; see audit hub list {run}")
    results = []
    with turn(run, False) as lock:
        for item in chosen:
            with scratch_directory(run, f"hub-{item.queued.id}") as scratch:
                job = job_of(run, item, scratch) | {"job": "verify", "read_back": read_back}
                old = "@" in named and revision != item.queued.branch
                job |= {"commit": revision, "recorded": None} if old else {}
                answer = ask(job, deadline_of(item.queued.bytes if read_back else 0, patience), lock)
            if answer["state"] not in ("pushed", "verified", "wrong"):
                raise AuditError(f"{repo}: {answer.get('reason')}")
            if not old and (answer["state"] == "wrong" or read_back or item.state.state != "verified"):
                conclude(run, item, answer)
            results.append(_result(_named(answer, item), item.queued.bytes, read_back))
    return results


def _named(answer: dict[str, Any], push: Push) -> dict[str, Any]:
    return {**answer, "checkpoint": push.queued.checkpoint, "folder": push.queued.folder}


def _result(answer: dict[str, Any], bytes: int, read_back: bool) -> Verified:
    return Verified(
        answer["checkpoint"],
        answer["repo"],
        answer["folder"],
        answer["commit"],
        bytes,
        read_back,
        answer.get("reason") if answer["state"] == "wrong" else None,
    )
