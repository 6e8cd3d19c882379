"""Load each of several checkpoints with DeepSpeed on two ranks as Trainer does, and say what became of it.

``python tests/deepspeed/load_each.py STAGE DIRECTORY``: ``asked.json`` in it has a sound checkpoint and those to load,
and ``answer.json`` will have for each a digest of what was loaded, or null if a rank failed; what the ranks printed is
in ``log``. The libraries are imported once, the ranks are forks of this process. If a rank fails, the other one is
ended, as it would wait for it, and both begin again with the next checkpoint.
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

WORLD, SECONDS = 2, 180.0


def outcomes(stage: str, sound: str, checkpoints: list[str], place: Path) -> dict[str, str | None]:
    """What both ranks loaded of each checkpoint; None if one of them failed. ``sound`` is one that loads."""
    found: dict[str, str | None] = {}
    left = checkpoints
    while left:
        told = _loaded(stage, sound, left, place)
        found.update(zip(left, told, strict=False))
        if len(told) < len(left):
            found[left[len(told)]] = None
        left = left[len(told) + 1 :]
        (place / "answer.json").write_text(json.dumps(found))
    return found


def _loaded(stage: str, sound: str, checkpoints: list[str], place: Path) -> list[str]:
    """Load one after the other until a rank fails, and return what was loaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory(dir=place) as home:
        wanted = Path(home) / "list"
        wanted.write_text(json.dumps(checkpoints))
        arguments = [f"{home}/out", "--stage", stage, "--resume", sound, "--probe", str(wanted)]
        waiting = {_fork(rank, port, arguments, place / "log") for rank in range(WORLD)}
        failed, seen, end = False, 0, time.monotonic() + SECONDS
        while waiting and not failed:
            done, status = os.waitpid(-1, os.WNOHANG)
            if done:
                waiting.discard(done)
                failed = status != 0
            else:
                count = len(list(Path(home).glob("list.*")))
                if count > seen:
                    seen, end = count, time.monotonic() + SECONDS
                failed = time.monotonic() > end
                time.sleep(0.02)
        for rank in waiting:
            os.kill(rank, signal.SIGKILL)
            os.waitpid(rank, 0)
        told = []
        for number in range(len(checkpoints)):
            ranks = [wanted.with_name(f"list.{number}.{rank}") for rank in range(WORLD)]
            if not all(path.exists() for path in ranks):
                break
            told.append(" ".join(path.read_text() for path in ranks))
        return told


def _fork(rank: int, port: str, arguments: list[str], log: Path) -> int:
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
        main(arguments)
    except BaseException:  # the exit status is the answer
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    home = Path(sys.argv[2])
    asked = json.loads((home / "asked.json").read_text())
    outcomes(sys.argv[1], asked["sound"], asked["checkpoints"], home)
