"""A Hub on this machine for the unchanged client: what huggingface_hub 2.4 asks for, and faults on request.

Bytes of large files are in ``root/lfs`` or, with ``xet``, in the file store of hf_xet in ``root/xet``.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "tEsTtOkEn0123456789aBcDeFgHiJkLmNo"
BINARY = (".safetensors", ".pt", ".pth", ".bin")


class Blob(NamedTuple):
    """A file of a commit. ``sha256`` is empty for a regular file, whose bytes are ``content``."""

    size: int
    oid: str
    sha256: str = ""
    content: bytes = b""
    xet: str = ""


class Commit(NamedTuple):
    title: str
    parent: str
    tree: dict[str, Blob]


class Repo:
    """A repository: its commits by name, and the newest one of each branch."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.add("main", "initial commit", {".gitattributes": blob_of(b"*.bin filter=lfs\n")})

    def add(self, branch: str, title: str, tree: dict[str, Blob]) -> str:
        parent = self.branches.get(branch, "")
        name = hashlib.sha1(f"{parent}{title}{sorted(tree.items())}".encode()).hexdigest()
        self.commits[name] = Commit(title, parent, tree)
        self.branches[branch] = name
        return name

    def at(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    @property
    def head(self) -> dict[str, Blob]:
        return self.commits[self.branches["main"]].tree

    def titles(self, branch: str = "main") -> list[str]:
        found, name = [], self.branches[branch]
        while name:
            found.append(self.commits[name].title)
            name = self.commits[name].parent
        return found[::-1]


class Fault(NamedTuple):
    """What goes wrong with requests: those of ``method`` ("*": any) whose path matches, after ``skip`` of them.

    ``how``: a status, "cut" (the connection ends in the middle of the body), "lose" (done, and no answer), "silent" (no
    answer until the server is closed), "flip" (a byte of what is stored or sent is another one), "call" (``act``).
    """

    method: str
    path: str
    how: int | str
    times: int = 1
    skip: int = 0
    body: str = "no"
    headers: tuple[tuple[str, str], ...] = ()
    act: Callable[[], None] = lambda: None


class Hub:
    """The state of the server; ``requests`` are (method, path) in order. ``public``: reading needs no token."""

    def __init__(self, root: Path, xet: bool = False) -> None:
        self.root, self.xet = root, xet
        self.repos: dict[str, Repo] = {}
        self.public = False
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.faults: list[Fault] = []
        self.sources: list[Path] = []
        self.url = self.store = ""
        self.closing = threading.Event()
        self.lock = threading.RLock()
        self._seen: dict[int, int] = {}
        (root / "lfs").mkdir(parents=True)
        (root / "xet").mkdir()

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            for number, fault in enumerate(self.faults):
                if fault.method in (method, "*") and re.search(fault.path, path):
                    seen = self._seen.get(number, 0)
                    self._seen[number] = seen + 1
                    if fault.skip <= seen < fault.skip + fault.times:
                        return fault
        return None

    def count(self, method: str, path: str) -> int:
        return sum(item[0] == method and re.search(path, item[1]) is not None for item in self.requests)

    def break_with(self, *faults: Fault) -> None:
        with self.lock:
            self.faults, self._seen = list(faults), {}

    def flip(self, name: str) -> None:
        """Change one byte of what is stored of a file of any repository."""
        for repo in self.repos.values():
            for commit in repo.commits.values():
                for path, blob in commit.tree.items():
                    if path.endswith(name) and blob.sha256:
                        place = self.root / "lfs" / blob.sha256
                        data = bytearray(place.read_bytes())
                        data[len(data) // 2] ^= 1
                        place.write_bytes(data)
                        return
        raise LookupError(name)

    def xet_hash(self, sha256: str) -> str:
        import hf_xet

        for source in self.sources:
            for path in source.rglob("*"):
                if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
                    return str(hf_xet.hash_files([str(path.resolve())])[0].hash)
        raise LookupError(sha256)


def blob_of(content: bytes) -> Blob:
    return Blob(len(content), git_oid(content), content=content)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    # -- plumbing --

    def _serve(self, method: str) -> None:
        hub = self.hub
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        fault = hub.fault_of(method, path)
        self.flip = self.lost = False
        if fault is not None:
            if fault.how == "silent":
                hub.closing.wait(60)
                return self._cut()
            if fault.how == "cut":
                self.rfile.read(min(int(self.headers.get("Content-Length") or 0) // 2, 1 << 16))
                return self._cut()
            if fault.how == "call":
                fault.act()
            if isinstance(fault.how, int):
                self._body()
                return self.answer(fault.how, {"error": fault.body}, dict(fault.headers))
            self.flip, self.lost = fault.how == "flip", fault.how == "lose"
        body = self._body()
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if path.startswith("/api/") and token != TOKEN and not (self.hub.public and method == "GET" and not token):
            return self.answer(401, {"error": "Invalid username or password."})
        hub.tokens.add(token)
        for verb, pattern, call in ROUTES:
            found = re.fullmatch(pattern, path)
            if verb in (method, "GET" if method == "HEAD" else "") and found:
                with hub.lock:
                    return call(self, *found.groups(), body=body, query=query)
        return self.answer(404, {"error": f"no route {method} {path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"-1", 16):
                part = self.rfile.read(size) if size > 0 else b""
                if len(part) != size:  # who sent it is gone
                    raise ConnectionError
                parts.append(part)
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) != length:
            raise ConnectionError
        return body

    def _cut(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def answer(self, status: int, document: Any = None, headers: dict[str, str] | None = None) -> None:
        self.send_bytes(status, b"" if document is None else json.dumps(document).encode(), headers or {})

    def send_bytes(self, status: int, data: bytes, headers: dict[str, str], length: int | None = None) -> None:
        if self.lost:
            return self._cut()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return None

    def repo(self, name: str, revision: str = "main") -> tuple[Repo, str] | None:
        found = self.hub.repos.get(name)
        if found is None:
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = found.at(revision)
        if commit is None:
            self.answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return found, commit

    # -- the API --

    def whoami(self, **_: Any) -> None:
        self.answer(200, {"type": "user", "name": "me", "fullname": "Me", "orgs": [], "auth": {"type": "access_token"}})

    def create(self, *, body: bytes, **_: Any) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.hub.repos:
            return self.answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.hub.repos[name] = Repo(private)
        return self.answer(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def delete(self, *, body: bytes, **_: Any) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if self.hub.repos.pop(name, None) is None:
            return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return self.answer(200)

    def info(self, name: str, revision: str = "main", **_: Any) -> None:
        found = self.repo(name, revision)
        if found is not None:
            repo, commit = found
            siblings = [{"rfilename": path} for path in repo.commits[commit].tree]
            self.answer(200, {"id": name, "sha": commit, "private": repo.private, "siblings": siblings, "tags": []})

    def tree(self, name: str, revision: str, folder: str | None, *, query: dict[str, list[str]], **_: Any) -> None:
        found = self.repo(name, revision)
        if found is None:
            return None
        repo, commit = found
        inside = f"{folder}/" if folder else ""
        items = sorted((path, blob) for path, blob in repo.commits[commit].tree.items() if path.startswith(inside))
        if folder and not items:
            return self.answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})
        start = int(query.get("cursor", ["0"])[0])
        part = items[start : start + 100]
        entries = []
        for path, blob in part:
            entry: dict[str, Any] = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid}
            if blob.sha256:
                entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
            entries.append(entry)
        here = f"{self.hub.url}/api/models/{name}/tree/{commit}{'/' + folder if folder else ''}?recursive=true"
        more = {"Link": f'<{here}&cursor={start + 100}>; rel="next"'} if items[start + 100 :] else {}
        return self.answer(200, entries, more)

    def preupload(self, name: str, revision: str, *, body: bytes, **_: Any) -> None:
        found = self.repo(name, revision)
        if found is None:
            return
        repo, commit = found
        tree = repo.commits[commit].tree
        files = []
        for asked in json.loads(body)["files"]:
            there = tree.get(asked["path"])
            large = asked["path"].endswith(BINARY)
            oid = there.sha256 or there.oid if there is not None else None
            files.append(
                {"path": asked["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
            )
        self.answer(200, {"files": files})

    def batch(self, name: str, *, body: bytes, **_: Any) -> None:
        if self.repo(name) is None:
            return
        objects: list[dict[str, Any]] = []
        for asked in json.loads(body)["objects"]:
            item = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
            if not (self.hub.root / "lfs" / asked["oid"]).exists():
                item["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}", "header": {}},
                    "verify": {"href": f"{self.hub.url}/verify", "header": {}},
                }
            objects.append(item)
        headers = {"Content-Type": "application/vnd.git-lfs+json"}
        self.answer(200, {"transfer": "basic", "objects": objects}, headers)

    def put(self, oid: str, *, body: bytes, **_: Any) -> None:
        if self.flip:
            body = body[:-1] + bytes([body[-1] ^ 1])
        (self.hub.root / "lfs" / oid).write_bytes(body)
        self.answer(200)

    def verify(self, **_: Any) -> None:
        self.answer(200)

    def xet_token(self, kind: str, name: str, kind2: str, revision: str, **_: Any) -> None:
        store = self.hub.store or f"local://{self.hub.root}/xet"
        token = {"casUrl": store, "accessToken": "xet", "exp": 4_000_000_000}
        headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": "4000000000"}
        self.answer(200, token, headers)

    def commit(self, name: str, branch: str, *, body: bytes, **_: Any) -> None:
        found = self.repo(name, branch)
        if found is None:
            return None
        repo, head = found
        title, tree = "", dict(repo.commits[head].tree)
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                title = value["summary"]
                parent = value.get("parentCommit")
                if parent and parent != head:
                    return self.answer(412, {"error": f"A commit has happened since. Parent: {parent}, head: {head}"})
            elif item["key"] == "file":
                tree[value["path"]] = blob_of(base64.b64decode(value["content"]))
            elif item["key"] == "lfsFile":
                sha = value["oid"]
                if not self.hub.xet and not (self.hub.root / "lfs" / sha).exists():
                    return self.answer(400, {"error": f"{value['path']}: object was not uploaded"})
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {value['size']}\n"
                xet = self.hub.xet_hash(sha) if self.hub.xet else ""
                tree[value["path"]] = Blob(value["size"], git_oid(pointer.encode()), sha, xet=xet)
            elif item["key"] == "deletedFile":
                tree.pop(value["path"], None)
            elif item["key"] == "deletedFolder":
                inside = value["path"].rstrip("/") + "/"
                tree = {path: blob for path, blob in tree.items() if not path.startswith(inside)}
        made = repo.add(branch, title, tree)
        return self.answer(
            200, {"commitOid": made, "commitUrl": f"{self.hub.url}/{name}/commit/{made}", "success": True}
        )

    def branch(self, name: str, branch: str, *, body: bytes, **_: Any) -> None:
        found = self.repo(name)
        if found is None:
            return None
        repo, head = found
        if self.command == "DELETE":
            repo.branches.pop(branch, None)
            return self.answer(200)
        if branch in repo.branches:
            return self.answer(409, {"error": "Reference already exists"})
        repo.branches[branch] = head
        return self.answer(200)

    def resolve(self, name: str, revision: str, path: str, **_: Any) -> None:
        found = self.repo(name, revision)
        if found is None:
            return None
        repo, commit = found
        blob = repo.commits[commit].tree.get(path)
        if blob is None:
            return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.sha256 or blob.oid}"', "Accept-Ranges": "bytes"}
        if blob.sha256:
            headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"'}
        if blob.xet:
            route = f"{self.hub.url}/api/models/{name}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": blob.xet, "X-Xet-Refresh-Route": route}
        if self.command == "HEAD":
            return self.send_bytes(200, b"", headers, blob.size)
        data = (self.hub.root / "lfs" / blob.sha256).read_bytes() if blob.sha256 and not blob.xet else blob.content
        if self.flip:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.send_bytes(206, data[first : last + 1], headers)
        return self.send_bytes(200, data, headers)


R = "([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("DELETE", "/api/repos/delete", Handler.delete),
    ("GET", f"/api/models/{R}", Handler.info),
    ("GET", f"/api/models/{R}/revision/(.+)", Handler.info),
    ("GET", f"/api/models/{R}/tree/([^/]+)(?:/(.+))?", Handler.tree),
    ("POST", f"/api/models/{R}/preupload/(.+)", Handler.preupload),
    ("POST", f"/{R}[.]git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/lfs/([0-9a-f]{64})", Handler.put),
    ("POST", "/verify", Handler.verify),
    ("GET", f"/api/(models)/{R}/xet-(write|read)-token/(.+)", Handler.xet_token),
    ("POST", f"/api/models/{R}/commit/(.+)", Handler.commit),
    ("POST", f"/api/models/{R}/branch/(.+)", Handler.branch),
    ("DELETE", f"/api/models/{R}/branch/(.+)", Handler.branch),
    ("GET", f"/{R}/resolve/([^/]+)/(.+)", Handler.resolve),
]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed on purpose."""


@contextmanager
def serving(root: Path, xet: bool = False) -> Iterator[Hub]:
    """Run the server on a free port of this machine until the body ends."""
    hub = Hub(root, xet)
    handler = type("HandlerOfHub", (Handler,), {"hub": hub})
    server = Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
