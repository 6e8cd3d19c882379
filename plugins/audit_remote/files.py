"""Runs in everything else that has a URL: the Hugging Face Hub (``hf://``), memory, SFTP, ... Read with fsspec."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from audit.plugin import UPLOAD, AuditError
from audit_remote.failures import unreachable
from audit_remote.source import ChangedError, Object
from audit_remote.storage import RemoteStorage

PAGE = 1000
"""Objects that are handed on at a time."""

DEEPEST = 8
"""Levels of directories below a run that are listed."""

_VERSIONS = ("ETag", "etag", "e_tag", "blob_id", "oid", "version_id", "sha256", "md5")
"""Keys of fsspec's ``info`` whose value changes with the content; names differ from one file system to the next."""

_TIMES = ("LastModified", "last_modified", "modified", "mtime", "created", "time")


def open_files(url: str) -> RemoteStorage:
    """Open what is below a URL of fsspec. Raises AuditError: the package of the scheme is missing, no such place."""
    try:
        import fsspec
    except ImportError as error:
        raise AuditError(
            f"{url}: reading it needs fsspec; install it with: pip install 'checkpoint-audit[remote]'"
        ) from error
    scheme = url.partition("://")[0]
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        needed = "huggingface_hub" if scheme == "hf" else str(error)
        raise AuditError(f"{url}: reading it needs one more package: {needed}") from error
    try:
        # Without a listing that was kept from before, which hides what was written since.
        files = kind(use_listings_cache=False, skip_instance_cache=True, **kind._get_kwargs_from_urls(url))  # noqa: SLF001
        path = kind._strip_protocol(url)  # noqa: SLF001
        if scheme == "hf":
            path = _pinned(files, path)
    except Exception as error:  # whatever the client library raises: nobody else knows it
        raise unreachable(url, error) from None
    return RemoteStorage(url, Files(url, files, str(path)))


def _pinned(files: Any, path: str) -> str:
    """The path with the commit that its branch is at: a push must not move the run under the reader."""
    resolved = files.resolve_path(path)
    info = files._api.repo_info(resolved.repo_id, repo_type=resolved.repo_type, revision=resolved.revision)  # noqa: SLF001
    kind = "" if resolved.repo_type == "model" else f"{resolved.repo_type}s/"
    return f"{kind}{resolved.repo_id}@{info.sha}/{resolved.path_in_repo}".rstrip("/")


class Files:
    """What is below ``path`` in a file system of fsspec; fulfils :class:`audit_remote.source.Source`."""

    def __init__(self, url: str, files: Any, path: str) -> None:
        self._url = url
        self._files = files
        self._path = path.rstrip("/")
        self.times: str | None = UPLOAD
        self.identity = url

    def pages(self) -> Iterator[list[Object]]:
        try:
            self._files.invalidate_cache()
            found: Mapping[str, Mapping[str, Any]] = self._files.find(self._path, maxdepth=DEEPEST, detail=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise unreachable(self._url, error) from None
        items = [(str(name), info) for name, info in found.items() if str(name).startswith(f"{self._path}/")]
        objects = [_object(name[len(self._path) + 1 :], info) for name, info in items]
        self.times = UPLOAD if objects and all(item.mtime_ns for item in objects) else None
        for at in range(0, len(objects), PAGE):
            yield objects[at : at + PAGE]

    def read(self, item: Object, start: int, end: int) -> memoryview:
        try:
            # By default a read of 8 bytes fetches 5 MiB.
            with self._files.open(
                f"{self._path}/{item.key}", "rb", cache_type="none", block_size=1 << 20, size=item.size
            ) as file:
                file.seek(start)
                data = file.read(end - start)
        except FileNotFoundError:
            raise ChangedError(0, f"{item.key} is gone since it was listed") from None
        except Exception as error:
            raise unreachable(f"{self._url}/{item.key}", error) from None
        if len(data) != end - start:
            raise ChangedError(0, f"{item.key} changed while it was read")
        return memoryview(data)


def _object(key: str, info: Mapping[str, Any]) -> Object:
    time = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    seconds = time.timestamp() if isinstance(time, datetime) else time if isinstance(time, int | float) else 0
    version = next((f"{name}:{info[name]}" for name in _VERSIONS if info.get(name)), None)
    if version is None and seconds:
        version = (
            "info:" + sha256(repr(sorted((str(name), str(value)) for name, value in info.items())).encode()).hexdigest()
        )
    return Object(key, int(info.get("size") or 0), version, int(seconds * 1e9))
