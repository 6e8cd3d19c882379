"""``hf://`` with the real client, against a server that answers as the Hub does: no more is read than is asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from audit.testing.runs import make_run
from tests.plugins.audit_remote.conftest import files_of

HEADS = ["1" * 40, "2" * 40]
"""The commits of ``main``: the second is pushed while the first is being read."""


class Hub:
    """A repository ``me/run`` by commit; ``sent`` are the bytes of each answer with a file's contents."""

    def __init__(self, commits: dict[str, dict[str, bytes]]) -> None:
        self.commits = commits
        self.head = HEADS[0]
        self.sent: list[tuple[str, str, int]] = []
        self.address = ""

    def tree(self, commit: str, below: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path, data in self.commits[commit].items():
            if below and not path.startswith(f"{below}/"):
                continue
            parts = path.split("/")
            for number in range(1, len(parts)):
                folder = "/".join(parts[:number])
                if not below or folder.startswith(f"{below}/"):
                    found[folder] = {
                        "type": "directory",
                        "path": folder,
                        "size": 0,
                        "oid": sha1(folder.encode()).hexdigest(),
                    }
            found[path] = {"type": "file", "path": path, "size": len(data), "oid": sha1(data).hexdigest()}
        return list(found.values())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    files = {f"runs/a/{path}": data for path, data in files_of(make_run(tmp_path / "run", (5, 10))).items()}
    other = {f"runs/a/{path}": data for path, data in files_of(make_run(tmp_path / "other", (5,), seed=3)).items()}
    found = Hub({HEADS[0]: files, HEADS[1]: other})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def _json(self, value: Any, status: int = 200) -> None:
            self._send(json.dumps(value).encode(), {"Content-Type": "application/json"}, status)

        def _send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, text in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            commit = self._commit(unquote(urlsplit(self.path).path).rpartition("/")[2])
            self._json([item for item in found.tree(commit, "") if item["path"] in asked])

        def _commit(self, revision: str) -> str:
            return found.head if revision == "main" else revision

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/models/me/run/tree/"):
                commit, _, below = path.removeprefix("/api/models/me/run/tree/").partition("/")
                self._json(found.tree(self._commit(commit), below))
                found.head = HEADS[1]  # somebody pushes
            elif path.startswith("/me/run/resolve/"):
                commit, _, name = path.removeprefix("/me/run/resolve/").partition("/")
                data = found.commits[self._commit(commit)][name]
                begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                part = data[int(begin) : int(end) + 1 if end else None]
                headers = {
                    "ETag": f'"{sha1(data).hexdigest()}"',
                    "X-Repo-Commit": self._commit(commit),
                    "Content-Range": f"bytes {begin}-{int(begin) + len(part) - 1}/{len(data)}",
                }
                if self.command == "GET":
                    found.sent.append((commit, name, len(part)))
                self._send(part, headers, 206 if "Range" in self.headers else 200)
            elif path.startswith("/api/models/me/run"):
                revision = path.removeprefix("/api/models/me/run").removeprefix("/revision/")
                self._json({"id": "me/run", "_id": "1", "sha": self._commit(revision or "main"), "siblings": []})
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()


def audit(hub: Hub, home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own: the client reads its endpoint when it is imported."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "XDG_STATE_HOME": str(home / "state"),
        "HF_HOME": str(home),
    }
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-m", "audit", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_run_on_the_hub_is_read_at_one_commit_and_each_byte_once(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    done = audit(hub, tmp_path, "verify", "hf://me/run/runs/a", "--format", "json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["resume_from"] == "checkpoint-10"
    assert {commit for commit, _, _ in hub.sent} == {HEADS[0]}
    assert sum(count for _, _, count in hub.sent) == sum(map(len, hub.commits[HEADS[0]].values()))


def test_a_repository_that_is_not_there_is_one_line(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    done = audit(hub, tmp_path, "verify", "hf://me/other/runs/a")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "hf://me/other/runs/a" in done.stderr
    assert "127.0.0.1" not in done.stderr
