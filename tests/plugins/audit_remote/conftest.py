"""A bucket on this machine, and runs in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.audit_remote.server import Bucket, served


def files_of(home: str | Path) -> dict[str, bytes]:
    """All files below a directory by relative path."""
    found = {}
    for above, _, names in os.walk(home):
        for name in names:
            path = os.path.join(above, name)
            found[os.path.relpath(path, home)] = Path(path).read_bytes()
    return found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    """The bucket ``s3://b``, which the environment says how to read; ledgers are in the test's own directory."""
    pytest.importorskip("obstore")
    with served() as (endpoint, found):
        for name in list(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTESTKEYID")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield found
