"""Registers the storages, whose libraries are imported when a run behind a URL is opened."""

from typing import TYPE_CHECKING

from audit.plugin import StorageOpener, hookimpl

if TYPE_CHECKING:
    from audit.plugin import Storage

BUCKETS = ("s3", "gs", "az")
"""Schemes that obstore reads."""

FILES = ("hf", "memory", "sftp", "ssh", "smb", "webhdfs", "hdfs", "oss", "oci", "abfs", "abfss")
"""Schemes that fsspec reads, with the package that each of them needs."""


def _bucket(url: str) -> "Storage":
    from audit_remote.buckets import open_bucket

    return open_bucket(url)


def _files(url: str) -> "Storage":
    from audit_remote.files import open_files

    return open_files(url)


@hookimpl
def audit_storages() -> dict[str, StorageOpener]:
    """Return the openers by scheme."""
    return {**dict.fromkeys(BUCKETS, _bucket), **dict.fromkeys(FILES, _files)}
