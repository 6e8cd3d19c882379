"""One pass gives the digests that other programs give."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from audit.errors import AuditError
from audit_hub.digests import digests_of


def test_they_are_those_of_hashlib_and_git(tmp_path: Path) -> None:
    data = os.urandom(70_001)
    (tmp_path / "a").write_bytes(data)

    found = digests_of(str(tmp_path / "a"))

    assert found[:3] == (70_001, blake3(data).hexdigest(), hashlib.sha256(data).hexdigest())
    done = subprocess.run(["git", "hash-object", tmp_path / "a"], capture_output=True, text=True, check=True)
    assert found.git == done.stdout.strip()


def test_a_link_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "nowhere"):
        with pytest.raises(AuditError, match="cannot be read"):
            digests_of(str(tmp_path / name))
    assert digests_of(str(tmp_path / "pipe")).size == 0  # without a writer it is empty, and nobody waits
