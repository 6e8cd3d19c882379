"""What the worker process does for a job, which is a JSON object; the answer is one, too."""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from huggingface_hub.errors import HfHubHTTPError

from audit.plugin import PushedFile
from audit_hub.client import CONFLICTS, Hub, Place, difference, others, read_back
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
    files, mine = _read(source, {path: PushedFile(*file) for path, file in job["files"].items()})
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
    """Compare a push with what the run's ledger says of it (``files``), or with its own seal, and what is read back."""
    place = Place(job["repo"], job["folder"], job.get("commit") or hub.head(job["repo"], job["branch"]))
    there = hub.tree(place)
    manifest = hub.manifest(place, there)
    files = {path: PushedFile(*file) for path, file in job["files"].items()} if job.get("files") else manifest.files
    answer = _answer("pushed", hub, place, files)
    answer |= {"checkpoint": manifest.checkpoint, "step": manifest.step, "folder": place.folder}
    wrong = "its seal is not the one in the ledger" if dict(manifest.files) != files else None
    wrong = wrong or difference(_known(files), there)
    if wrong is None and (foreign := others(there, manifest.stored(), place.folder)):
        wrong = f"{foreign[0]} is one file too many"
    if wrong is not None:
        return answer | {"state": "wrong", "reason": wrong}
    return answer | (_read_back(hub, place, files, job["scratch"]) if job["read_back"] else {})


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
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

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
