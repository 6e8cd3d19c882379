"""What the worker process does for a job, which is a JSON object; the answer is one, too."""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from audit.plugin import AuditError, PushedFile
from audit_hub.client import CONFLICTS, Hub, Place, There, difference, others, read_back
from audit_hub.digests import Digests, digests_of
from audit_hub.failures import NeverError, StuckError
from audit_hub.manifest import NAME, Manifest, stored_name

Job = Mapping[str, Any]
Answer = dict[str, Any]


def push(hub: Hub, job: Job) -> Answer:
    """Upload what is not there yet, commit the seal last, and compare what the Hub has recorded with the seal."""
    source = job["source"]
    if not os.path.isdir(source):
        raise NeverError(f"{job['checkpoint']} was deleted before it was pushed")
    files, mine = _read(source, _files_of(job))
    saved = max(os.stat(os.path.join(source, path)).st_mtime_ns for path in files)
    manifest = Manifest(job["checkpoint"], job["step"], saved, files)
    branch, folder = job["branch"], job["folder"]
    repo = job["repo"].replace("{user}", hub.user()) if "{user}" in job["repo"] else job["repo"]
    hub.make(repo, branch, job["private"])
    seal = manifest.text()
    for attempt in range(CONFLICTS):
        place = Place(repo, folder, hub.head(repo, branch))
        there = hub.tree(place)
        if foreign := others(there, mine, folder):
            where = f"{repo}/{folder}" if folder else repo
            raise StuckError(f"{where}: holds other files, such as {foreign[0]}; push to another name")
        try:
            if difference(mine, there) is not None:
                _stage(job["stage"], source, files)
                place = place._replace(commit=hub.upload(place, branch, job["stage"], f"Add {job['checkpoint']}"))
                there = hub.tree(place)
            if NAME not in there or not _is_there(hub, place, seal, there[NAME].size):
                commit = hub.write(place, branch, NAME, seal, f"Seal {job['checkpoint']}")
                place = place._replace(commit=commit)
                there = hub.tree(place)
            break
        except HfHubHTTPError as error:  # the commit before is another one: ours, with a lost answer, or somebody's
            if error.response.status_code != 412 or attempt == CONFLICTS - 1:
                raise
    wrong = difference(mine, there)
    if wrong is not None:
        return {"state": "wrong", "reason": f"{wrong}, right after it was pushed", "repo": repo, "commit": place.commit}
    answer = _answer("pushed", hub, place, files)
    if job["read_back"]:
        answer |= _read_back(hub, place, files, job["scratch"])
    return answer


def verify(hub: Hub, job: Job) -> Answer:
    """Compare a push with what the run's ledger says of it (``files``), or with its own seal, and what is read back.

    Compared is the ``commit``, or else the branch as it is now, from which a pull would take it: somebody may have
    changed or removed it since. Then ``recorded``, the commit at which the ledger knows the push to have been right, is
    named if it still has the files.
    """
    repo, folder, branch = job["repo"], job["folder"], job["branch"]
    recorded = Place(repo, folder, job["recorded"]) if job.get("recorded") else None
    try:
        place = Place(repo, folder, job.get("commit") or hub.head(repo, branch))
    except RevisionNotFoundError:
        if recorded is None:
            raise
        files = _files_of(job)
        return _answer("pushed", hub, recorded, files) | _lost(hub, recorded, files, f"there is no branch {branch}")
    if not job.get("files"):
        there = hub.tree(place)
        manifest = hub.manifest(place, there)
        wrong = _wrong_in(hub, place, there, manifest, manifest.files, {}, job)
        about = {"checkpoint": manifest.checkpoint, "step": manifest.step, "folder": folder}
        return _answer("pushed", hub, place, manifest.files) | about | _judged(wrong, job)
    files, there = _files_of(job), hub.tree(place)
    answer = _answer("pushed", hub, place, files)
    if NAME not in there:
        wrong = f"{NAME} is missing" if there else f"it is not there any more, in branch {branch}"
    else:
        before: Mapping[str, There] = {}
        if recorded is not None and job["vouched"] and not job["read_back"]:
            before = there if recorded == place else _tree_if_there(hub, recorded)
        try:
            manifest = hub.manifest(place, there)
        except AuditError:  # not that it could not be read: that is no difference
            wrong = "its seal is not the one in the ledger"
        else:
            wrong = _wrong_in(hub, place, there, manifest, files, before, job)
    if wrong is not None and recorded is not None and recorded != place:
        return answer | _lost(hub, recorded, files, wrong)
    return answer | _judged(wrong, job)


def _wrong_in(
    hub: Hub,
    place: Place,
    there: Mapping[str, There],
    manifest: Manifest,
    files: Mapping[str, PushedFile],
    before: Mapping[str, There],
    job: Job,
) -> str | None:
    """In what a place differs from a seal, None if in nothing.

    No seal has git ids. A small file, of which nothing else is recorded, is compared with what was there ``before``,
    when it was right; otherwise it is read.
    """
    if dict(manifest.files) != files:
        return "its seal is not the one in the ledger"
    if (wrong := difference(_known(files), there)) is not None:
        return wrong
    if foreign := others(there, manifest.stored(), place.folder):
        return f"{foreign[0]} is one file too many"
    if job["read_back"]:
        return read_back(hub, place, files, job["scratch"])
    unknown = {
        path: file
        for path, file in files.items()
        if there[stored_name(path)].sha256 is None and there[stored_name(path)] != before.get(stored_name(path))
    }
    return read_back(hub, place, unknown, job["scratch"])


def _judged(wrong: str | None, job: Job) -> Answer:
    if wrong is not None:
        return {"state": "wrong", "reason": wrong}
    return {"state": "verified" if job["read_back"] else "pushed"}


def _lost(hub: Hub, recorded: Place, files: Mapping[str, PushedFile], wrong: str) -> Answer:
    """What is said of a push that a pull would not find any more, and whether it still is at an older commit."""
    there = _tree_if_there(hub, recorded)
    if NAME in there and difference(_known(files), there) is None:
        wrong += f"; as it was pushed it still is in {recorded.repo}@{recorded.commit}"
    return {"state": "wrong", "reason": wrong}


def _tree_if_there(hub: Hub, place: Place) -> dict[str, There]:
    """The files at a commit, none if its history was squashed meanwhile."""
    try:
        return hub.tree(place)
    except RevisionNotFoundError:
        return {}


def _files_of(job: Job) -> dict[str, PushedFile]:
    return {path: PushedFile(*file) for path, file in job["files"].items()}


def find(hub: Hub, job: Job) -> Answer:
    """Return the checkpoints of a repository at one commit: the folders that hold a seal, by step."""
    repo = job["repo"]
    whole = Place(repo, "", hub.head(repo, job["branch"]))
    found = []
    for path, there in hub.tree(whole).items():
        folder, _, name = path.rpartition("/")
        if name != NAME:
            continue
        manifest = hub.manifest(whole._replace(folder=folder), {NAME: there})
        found.append(
            {"folder": folder, "checkpoint": manifest.checkpoint, "step": manifest.step, "bytes": manifest.size}
        )
    found.sort(key=lambda item: (item["step"], item["folder"]))
    return {"state": "found", "repo": repo, "commit": whole.commit, "checkpoints": found}


def pull(hub: Hub, job: Job) -> Answer:
    """Download a checkpoint into ``scratch/checkpoint-N``, and compare every byte with the seal in the repository."""
    from concurrent.futures import ThreadPoolExecutor

    place = Place(job["repo"], job["folder"], job["commit"])
    there = hub.tree(place)
    manifest = hub.manifest(place, there)
    if wrong := difference(_known(manifest.files), there):
        raise StuckError(f"{place.repo}: {wrong}; it is not what was pushed")
    needed, free = manifest.size, shutil.disk_usage(job["scratch"]).free
    if needed > free:
        raise StuckError(f"{job['scratch']}: {needed} bytes are needed, {free} are free")
    down, home = os.path.join(job["scratch"], "download"), os.path.join(job["scratch"], manifest.checkpoint)
    os.makedirs(home)

    def take(path: str) -> None:
        name = stored_name(path)
        got = hub.fetch(place, name, down)
        if digests_of(got).pushed != manifest.files[path]:
            raise StuckError(f"{place.repo}: {name}: what the Hub sends is not what was pushed")
        target = os.path.join(home, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(got, target)
        os.utime(target, ns=(manifest.saved, manifest.saved))

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(take, manifest.files):
            pass
    os.utime(home, ns=(manifest.saved, manifest.saved))
    answer = _answer("pulled", hub, place, manifest.files)
    return answer | {"checkpoint": manifest.checkpoint, "step": manifest.step, "bytes": manifest.size}


def remove(hub: Hub, job: Job) -> Answer:
    """Remove a push, if nothing else is in its place."""
    answer = {"state": "removed", "repo": job["repo"]}
    try:
        place = Place(job["repo"], job["folder"], hub.head(job["repo"], job["branch"]))
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return answer
    files = {stored_name(path): file for path, file in job["files"].items()}
    if foreign := others(hub.tree(place), files, place.folder):
        raise StuckError(f"{place.repo}: holds a file that was not pushed with it, {foreign[0]}; it is left alone")
    hub.remove(place, job["branch"])
    return answer


JOBS: Mapping[str, Callable[[Hub, Job], Answer]] = {
    "push": push, "verify": verify, "find": find, "pull": pull, "remove": remove,
}  # fmt: skip
READING = ("verify", "find", "pull")
"""Jobs that change nothing: what is public can be read without a login."""


def _read(source: str, files: Mapping[str, PushedFile]) -> tuple[dict[str, PushedFile], dict[str, Digests]]:
    """The files with their SHA-256, and all digests by stored name. Raises NeverError if they changed."""
    found, stored = {}, {}
    for path, file in files.items():
        mine = digests_of(os.path.join(source, path))
        if (mine.size, mine.blake3) != (file.size, file.blake3):
            raise NeverError(f"{path} was changed after the checkpoint was proven")
        found[path] = mine.pushed
        stored[stored_name(path)] = mine
    return found, stored


def _known(files: Mapping[str, PushedFile]) -> dict[str, Digests]:
    """What is known of files that are not here: all but the git ids."""
    return {stored_name(path): Digests(file.size, file.blake3, file.sha256, "") for path, file in files.items()}


def _stage(stage: str, source: str, files: Mapping[str, PushedFile]) -> None:
    """Make the tree to upload: links to the files by their stored names."""
    for path in files:
        target = os.path.join(stage, stored_name(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(os.path.abspath(os.path.join(source, path)), target)


def _is_there(hub: Hub, place: Place, content: bytes, size: int) -> bool:
    if size != len(content):
        return False
    with hub.fetched(place, NAME) as path, open(path, "rb") as file:
        return file.read() == content


def _read_back(hub: Hub, place: Place, files: Mapping[str, PushedFile], home: str | None) -> Answer:
    wrong = read_back(hub, place, files, home)
    return {"state": "verified"} if wrong is None else {"state": "wrong", "reason": wrong}


def _answer(state: str, hub: Hub, place: Place, files: Mapping[str, PushedFile]) -> Answer:
    shown = {path: list(file) for path, file in files.items()}
    return {"state": state, "repo": place.repo, "commit": place.commit, "url": hub.url(place), "files": shown}
