"""Runs in object stores: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage; with obstore."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from errno import ENOENT
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from audit.plugin import UPLOAD, AuditError
from audit_remote.failures import unreachable
from audit_remote.source import ChangedError, Object
from audit_remote.storage import RemoteStorage

if TYPE_CHECKING:
    from obstore.store import ObjectStore

RETRIES = 8
RETRY_SECONDS = 90
"""Retries of a request, and how long after its beginning the last one starts: the waits grow from 0.1 to 15 s."""

TIMEOUT = "60s"
CONNECT_TIMEOUT = "10s"

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables with the address of another server than the provider's, by scheme."""


_KEY = re.compile(r'Path "([^"]*)"')
_IN_HEADERS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
)  # fmt: skip


def _refuse_environment() -> None:
    """Raise AuditError for variables with which obstore 0.12 ends in a panic: no address, no header of a request."""
    for name in _IN_HEADERS:
        value = os.environ.get(name, "")
        if value != "".join(value.split()):
            raise AuditError(f"{name}: has a space or a line break in it; set it again")
    for name in (name for names in _ENDPOINTS.values() for name in names if name in os.environ):
        try:
            address = urlsplit(os.environ[name])
            known = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            known = False
        if not known:
            raise AuditError(f"{name}: is no address such as https://s3.example.com; correct it, or unset it")


def open_bucket(url: str) -> RemoteStorage:
    """Open what is below ``s3://BUCKET/PATH``, ``gs://BUCKET/PATH`` or ``az://CONTAINER/PATH``. Raises AuditError."""
    _refuse_environment()
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    endpoint = next((os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)), None)
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "") if scheme == "az" else ""
    identity = " ".join(filter(None, (endpoint, account, url)))
    return RemoteStorage(url, Bucket(url, _store(url, scheme, bucket, endpoint), path, identity))


def _store(url: str, scheme: str, bucket: str, endpoint: str | None) -> "ObjectStore":
    try:
        from obstore import exceptions, store
    except ImportError as error:
        raise AuditError(
            f"{url}: reading it needs obstore; install it with: pip install 'checkpoint-audit[remote]'"
        ) from error
    options: dict[str, Any] = {
        "client_options": {
            "timeout": TIMEOUT,
            "connect_timeout": CONNECT_TIMEOUT,
            **({"allow_http": True} if (endpoint or "").startswith("http://") else {}),
        },
        "retry_config": {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    }
    try:
        if scheme == "s3":
            if endpoint:
                options["endpoint"] = endpoint
            provider = _profile()
            if provider is not None:
                options["credential_provider"] = provider
            return store.S3Store(bucket, **options)
        return store.GCSStore(bucket, **options) if scheme == "gs" else store.AzureStore(bucket, **options)
    except (exceptions.BaseError, ValueError) as error:
        raise unreachable(url, error) from None


def _profile() -> Any:
    """Credentials of ``~/.aws``, which obstore does not read but boto3 does; None where either is missing."""
    named = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if any(map(os.environ.get, named)) or os.environ.get("AWS_SKIP_SIGNATURE"):
        return None
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    if not any(os.path.exists(os.path.expanduser(path)) for path in files):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider()
    except Exception:  # no boto3, or no usable profile: obstore then looks by itself, and says what is missing
        return None


class Bucket:
    """What is below ``path`` in a store of obstore; fulfils :class:`audit_remote.source.Source`."""

    times = UPLOAD

    def __init__(self, url: str, store: "ObjectStore", path: str, identity: str) -> None:
        self._url = url
        self._store = store
        self._path = path
        self.identity = identity

    def pages(self) -> Iterator[list[Object]]:
        import obstore
        from obstore import exceptions

        skipped = len(self._path) + 1 if self._path else 0
        try:
            for page in obstore.list(self._store, self._path or None, chunk_size=1000):
                yield [
                    Object(
                        item["path"][skipped:],
                        item["size"],
                        item["e_tag"] or item["version"],
                        int(item["last_modified"].timestamp() * 1e9),
                    )
                    for item in page
                ]
        except (exceptions.BaseError, OSError) as error:
            if isinstance(error, exceptions.InvalidPathError) or "InvalidPath" in str(error):
                key = _KEY.search(str(error))
                raise AuditError(
                    f"{self._url}: the name of {repr(key[1]) if key else 'an object below it'} is no path, as it has an "
                    "empty part or '..', and with it nothing is listed; remove or rename it"
                ) from None
            raise unreachable(self._url, error) from None

    def read(self, item: Object, start: int, end: int) -> memoryview:
        import obstore
        from obstore import exceptions

        options: dict[str, Any] = {"range": (start, end)}
        if item.version is not None and not item.version.startswith(
            "W/"
        ):  # a weak one never matches (RFC 9110, 13.1.1)
            options["if_match"] = item.version
        key = f"{self._path}/{item.key}" if self._path else item.key
        try:
            found = obstore.get(self._store, key, options=options)
            data = memoryview(found.bytes())
            version = found.meta["e_tag"] or found.meta["version"]
        except exceptions.PreconditionError:
            raise ChangedError(0, f"{item.key} changed while it was read") from None
        except FileNotFoundError:
            raise ChangedError(ENOENT, f"{item.key} is gone since it was listed") from None
        except (exceptions.BaseError, OSError) as error:
            raise unreachable(f"{self._url}/{item.key}", error) from None
        # Not every server that speaks S3 looks at If-Match.
        if len(data) != end - start or (item.version is not None and version not in (None, item.version)):
            raise ChangedError(0, f"{item.key} changed while it was read")
        return data
