"""What is asked of the Hub, by ``huggingface_hub`` alone; imported in the worker process only.

Facts of huggingface_hub 2.4 that this rests on: its client waits for a silent server without end, so it gets time
limits here and the process a deadline; ``upload_folder`` with xet sends a commit again whose answer was lost, and
``parent_commit`` keeps that from being a second one; ``create_repo`` has a lower limit of calls than the rest.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from audit.plugin import PushedFile, veiled
from audit_hub.digests import Digests, digests_of
from audit_hub.failures import MAY_PASS, StuckError, failure_of
from audit_hub.manifest import LARGEST, MOST, NAME, Manifest, read_manifest, stored_name

CONNECT_SECONDS, SILENT_SECONDS = 15.0, 120.0
"""After so long without a connection, or without a byte, a request counts as failed, and the client tries again."""
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a download is tried again: the client does so for uploads, and only goes on with one that was cut."""
CONFLICTS = 3
"""How often an upload begins anew because somebody else committed meanwhile."""
OURS = (".gitattributes", NAME)
"""Files of a repository that are of no checkpoint."""


class There(NamedTuple):
    """A file in a repository: ``sha256`` where it is a large one, else ``git``, the id of its blob."""

    size: int
    git: str
    sha256: str | None


class Place(NamedTuple):
    """A folder in a repository at one commit."""

    repo: str
    folder: str
    commit: str

    def path(self, name: str) -> str:
        """Return the path of a file in the repository."""
        return f"{self.folder}/{name}" if self.folder else name


NOBODY = "nobody is logged in to the Hub: run `hf auth login`, or set HF_TOKEN"


def token() -> str | None:
    """Return the token of the user who is logged in, None if nobody is."""
    found: str | None = huggingface_hub.get_token()
    return found


class Hub:
    """The Hub, as the user who is logged in; raises what the client raises, and StuckError.

    Without a login it can be ``reading`` what is public.
    """

    def __init__(self, reading: bool = False) -> None:
        huggingface_hub.set_client_factory(_client)
        self.token = token()
        if self.token is None and not reading:
            raise StuckError(NOBODY)
        self._api = huggingface_hub.HfApi(token=self.token or False, library_name="checkpoint-audit")

    def user(self) -> str:
        """Return the name of the user."""
        return str(self._api.whoami()["name"])

    def head(self, repo: str, branch: str) -> str:
        """Return the newest commit of a branch, or the commit itself."""
        return str(self._api.repo_info(repo, revision=branch).sha)

    def make(self, repo: str, branch: str, private: bool) -> None:
        """Make the repository and the branch, unless they are there."""
        if not self._api.repo_exists(repo):
            try:
                self._api.create_repo(repo, private=private)
            except HfHubHTTPError as error:
                if error.response.status_code != 409 or not self._api.repo_exists(repo):
                    raise
        if branch != "main":
            try:
                self.head(repo, branch)
            except RevisionNotFoundError:
                self._api.create_branch(repo, branch=branch, exist_ok=True)

    def tree(self, place: Place) -> dict[str, There]:
        """Return the files of a place by their path in it; empty if there is no such folder."""
        found: dict[str, There] = {}
        listed = self._api.list_repo_tree(
            place.repo, path_in_repo=place.folder or None, recursive=True, revision=place.commit
        )
        try:
            for item in listed:
                if not isinstance(item, huggingface_hub.RepoFile):
                    continue
                name = item.path.removeprefix(f"{place.folder}/") if place.folder else item.path
                found[name] = There(item.size, item.blob_id, item.lfs.sha256 if item.lfs else None)
                if len(found) > MOST:
                    raise StuckError(f"{place.repo}: holds more than {MOST} files")
        except EntryNotFoundError:
            return {}
        return found

    def manifest(self, place: Place, there: Mapping[str, There]) -> Manifest:
        """Read the seal in a repository. Raises AuditError if there is none, or if it is not valid."""
        where = f"{place.repo}/{place.path(NAME)}"
        if NAME not in there:
            raise StuckError(f"{where}: is not there, so the upload is not complete, or not one of checkpoint-audit")
        if there[NAME].size > LARGEST:
            raise StuckError(f"{where}: is too large for the seal of a checkpoint")
        with self.fetched(place, NAME) as path, open(path, "rb") as file:
            return read_manifest(file.read(LARGEST), where)

    @contextmanager
    def fetched(self, place: Place, name: str, home: str | None = None) -> Iterator[str]:
        """Download a file into an empty directory in ``home``, and delete it at the end."""
        with tempfile.TemporaryDirectory(prefix="audit-hub-", dir=home) as scratch:
            yield self.fetch(place, name, scratch)

    def fetch(self, place: Place, name: str, home: str) -> str:
        """Download a file into ``home`` and return its path there; what may pass is tried again, as uploads are."""
        for pause in (*PAUSES, None):
            try:
                return str(
                    huggingface_hub.hf_hub_download(
                        place.repo, place.path(name), revision=place.commit, local_dir=home, token=self.token or False
                    )
                )
            except Exception as error:
                failure = failure_of(error)
                if pause is None or failure.state != MAY_PASS:
                    raise
                time.sleep(max(pause, failure.retry_after or 0.0))
        raise AssertionError

    def upload(self, place: Place, branch: str, home: str, message: str) -> str:
        """Commit the files of a directory on top of ``place.commit``, and return the new commit."""
        done = self._api.upload_folder(
            repo_id=place.repo,
            folder_path=home,
            path_in_repo=place.folder,
            revision=branch,
            parent_commit=place.commit,
            commit_message=message,
        )
        return str(done.oid)

    def write(self, place: Place, branch: str, name: str, content: bytes, message: str) -> str:
        """Commit one small file on top of ``place.commit``, and return the new commit."""
        operation = huggingface_hub.CommitOperationAdd(place.path(name), content)
        done = self._api.create_commit(
            place.repo, [operation], revision=branch, parent_commit=place.commit, commit_message=message
        )
        return str(done.oid)

    def remove(self, place: Place, branch: str) -> None:
        """Remove a folder, a branch, or else the whole repository; nothing is said if it is gone already."""
        try:
            if place.folder:
                self._api.delete_folder(
                    place.folder,
                    place.repo,
                    revision=branch,
                    parent_commit=place.commit,
                    commit_message=f"Remove {place.folder}",
                )
            elif branch != "main":
                self._api.delete_branch(place.repo, branch=branch)
            else:
                self._api.delete_repo(place.repo, missing_ok=True)
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
            return

    def url(self, place: Place) -> str:
        """Return the address of a page that shows the place, without a password that HF_ENDPOINT may have."""
        inside = f"/{place.folder}" if place.folder else ""
        return veiled(f"{self._api.endpoint}/{place.repo}/tree/{place.commit}{inside}")


def difference(files: Mapping[str, Digests], there: Mapping[str, There]) -> str | None:
    """Return in what the records of a repository differ from the files by their stored names, None if in nothing."""
    for name, mine in files.items():
        found = there.get(name)
        if found is None:
            return f"{name} is missing"
        if found.size != mine.size:
            return f"{name} has {found.size} bytes and not {mine.size}"
        if found.sha256 is not None and found.sha256 != mine.sha256:
            return f"{name} has another SHA-256"
        if found.sha256 is None and mine.git and found.git != mine.git:
            return f"{name} has another git id"
    return None


def read_back(hub: Hub, place: Place, files: Mapping[str, PushedFile], home: str | None) -> str | None:
    """Download every file and compare its bytes; return the first difference, None if there is none.

    It is the only way to find a byte that the store keeps wrong: the client and the tree compare what was recorded.
    """
    for path, file in files.items():
        name = stored_name(path)
        with hub.fetched(place, name, home) as got:
            found = digests_of(got)
        if found.pushed != file:
            return f"{name}: what the Hub sends is not what was pushed"
    return None


def others(there: Mapping[str, There], files: Mapping[str, Any], folder: str) -> list[str]:
    """Return files of a place that are of no push of this checkpoint."""
    ours = (NAME,) if folder else (*OURS, "README.md")
    return sorted(name for name in there if name not in files and name not in ours)


def _client() -> Any:
    """The client's own transport, which adds its headers and follows redirects, with time limits."""
    import httpx2
    from huggingface_hub.utils import _http

    client = _http.default_client_factory()
    client.timeout = httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
    return client
