"""Resume from each of several checkpoints with DeepSpeed on two ranks, and say what became of it.

``python tests/deepspeed/load_each.py STAGE LIST.json ANSWER.json``: the list has the paths of checkpoints, and the
answer is for each a digest of what was loaded, or null if a rank failed; what the ranks printed is in ``log/``. The
libraries are imported once; every resume is a fork of this process, and the other rank is ended as soon as one failed:
it would wait for it.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from tests.deepspeed.train_one import main

WORLD, SECONDS = 2, 120.0


def outcome(stage: str, checkpoint: str, log: Path) -> str | None:
    """What both ranks loaded; None if one of them failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as place:
        ranks = [_fork(rank, port, ["--stage", stage, "--resume", checkpoint], place, log) for rank in range(WORLD)]
        waiting, failed, end = set(ranks), False, time.monotonic() + SECONDS
        while waiting and not failed:
            done, status = os.waitpid(-1, os.WNOHANG)
            if done:
                waiting.discard(done)
                failed = status != 0
            else:
                failed = time.monotonic() > end
                time.sleep(0.02)
        for rank in waiting:
            os.kill(rank, signal.SIGKILL)
            os.waitpid(rank, 0)
        found = [path.read_text() for path in sorted(Path(place).glob("probe.*"))]
        return None if failed or len(found) < WORLD else " ".join(found)


def _fork(rank: int, port: str, arguments: list[str], place: str, log: Path) -> int:
    child = os.fork()
    if child:
        return child
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD), LOCAL_WORLD_SIZE=str(WORLD),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
    )  # fmt: skip
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        main([f"{place}/out", *arguments, "--probe", f"{place}/probe"])
    except BaseException:  # the exit status is the answer
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    stage, names = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    found = {}
    for name in names:
        log = Path(sys.argv[2]).parent / "log" / name.replace("/", "-")
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        found[name] = outcome(stage, name, log)
    Path(sys.argv[3]).write_text(json.dumps(found))
