"""Bring a checkpoint back: download beside the run, compare every byte, judge it, and only then give it its name."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from audit.plugin import (
    AuditError,
    Options,
    RefusedError,
    Registry,
    RunLock,
    load_plugins,
    locate_run,
    prove_run,
    scratch_directory,
    sync_to_disk,
    verify,
)
from audit_hub.process import ask
from audit_hub.queue import is_named, pushes_of
from audit_hub.settings import check_repo
from audit_hub.working import Patience, deadline_of


class Pulled(NamedTuple):
    """A checkpoint that was brought back. ``proven``: also judged as a part of the run, and sealed there."""

    path: str
    checkpoint: str
    bytes: int
    repo: str
    commit: str
    proven: bool
    notes: tuple[str, ...] = ()


def answered(job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Have a job done. Raises AuditError if it could not be."""
    answer = ask(job, seconds)
    if answer["state"] in ("waiting", "stuck", "refused"):
        raise AuditError(f"{job['repo']}: {answer.get('reason')}")
    return answer


def split_repo(named: str) -> tuple[str, str]:
    """Return repository and revision of ``owner/name@revision``. Raises AuditError."""
    repo, _, revision = named.removeprefix("hf://").removesuffix("/").partition("@")
    check_repo(repo)
    return repo, revision or "main"


def found_in(named: str, checkpoint: str | None, patience: Patience) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was found in a repository, and the checkpoint in it that was asked for, by default the newest.

    Raises AuditError: there is none, or the repository cannot be read.
    """
    repo, revision = split_repo(named)
    answer = answered({"job": "find", "repo": repo, "branch": revision}, deadline_of(0, patience))
    there = answer["checkpoints"]
    if not there:
        raise AuditError(f"{named}: holds no checkpoint that checkpoint-audit has pushed to its end")
    if checkpoint is None:
        return answer, there[-1]
    for item in reversed(there):
        if is_named(checkpoint, item["checkpoint"], item["step"]):
            return answer, item
    raise AuditError(
        f"{named}: holds no checkpoint {checkpoint}; it holds {', '.join(item['checkpoint'] for item in there)}"
    )


def pull(
    named: str,
    run: str,
    checkpoint: str | None,
    patience: Patience,
    options: Options | None = None,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pulled:
    """Download a checkpoint of a repository into a run, which is made if need be.

    Nothing has the name ``checkpoint-N`` before every byte is what was sealed and the checkpoint by itself can be
    resumed from. Raises RefusedError: it is there already, the run is being trained, or it cannot be resumed from;
    AuditError if it cannot be done.
    """
    plugins = registry or load_plugins()
    chosen = (options or Options())._replace(depth="full", select=(), ledger=False, settle_seconds=0.0)
    if "://" in run or os.path.lexists(run):
        _, only = locate_run(run)
        if only:
            raise AuditError(f"{run}: is one checkpoint; give the run that holds it")
    found, item = found_in(named, checkpoint, patience)
    name = str(item["checkpoint"])
    target = os.path.join(run, name)
    new = not os.path.lexists(run)
    try:
        with RunLock(run, "pulled into"), scratch_directory(run, "hub-pull") as scratch:
            if os.path.lexists(target):
                raise RefusedError(f"{target}: is there already, and nothing is overwritten; move it away first")
            job = {"job": "pull", "repo": found["repo"], "commit": found["commit"], "folder": item["folder"]}
            answer = answered(job | {"scratch": os.path.abspath(scratch)}, deadline_of(item["bytes"], patience))
            home = os.path.join(scratch, name)
            report = verify(home, chosen, registry=plugins, progress=progress)
            (judged,) = report.checkpoints
            if not judged.resumable:
                wrong = next((found for found in report.findings if found.blocks_resume), None)
                why = f": {wrong.message} ({wrong.rule})" if wrong is not None else ""
                raise RefusedError(f"{named}: {name} cannot be resumed from{why}; nothing was changed")
            _refuse_given_up(run, name, answer["files"])
            _flush(home)
            saved = os.lstat(home)
            os.rename(home, target)
            os.utime(target, ns=(saved.st_atime_ns, saved.st_mtime_ns))
            sync_to_disk(run)
        proof = prove_run(run, chosen._replace(ledger=True), plugins)
    except OSError as error:
        raise AuditError(f"{error.filename or run}: {error.strerror or error}") from error
    finally:
        if new and os.path.isdir(run) and not os.path.isdir(target):
            _unmake(run)
    proven = any(item.name == name for item in proof.proven)
    return Pulled(target, name, item["bytes"], answer["repo"], answer["commit"], proven, tuple(proof.report.notes))


def _refuse_given_up(run: str, name: str, files: Mapping[str, Any]) -> None:
    """Raise RefusedError if the run has pushed these bytes and gave them up since: a resume would take them."""
    pulled = {path: file[1] for path, file in files.items()}
    for push in pushes_of(run):
        if push.given_up and {path: file.blake3 for path, file in push.queued.files.items()} == pulled:
            raise RefusedError(
                f"{run}: {name} was given up when the run went back to {push.given_up}, so it is not put back; pull it "
                "into another directory"
            )


def _unmake(run: str) -> None:
    """Delete the directory of a run that was made for nothing."""
    with suppress(OSError):
        if set(os.listdir(run)) <= {".audit"}:
            shutil.rmtree(run)


def _flush(home: str) -> None:
    for folder, _, names in os.walk(home):
        for name in names:
            sync_to_disk(os.path.join(folder, name))
        sync_to_disk(folder)
