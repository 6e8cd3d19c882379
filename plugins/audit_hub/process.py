"""Starts the process that talks to the Hub, and ends it at its deadline: its client may wait for ever."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from audit.plugin import veiled

_LARGEST = 64 << 20
_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",  # what is read back comes from the store and not from this disk
}


def ask(job: Mapping[str, Any], seconds: float, lock: int | None = None) -> dict[str, Any]:
    """Have a job done in a process of its own, and return its answer; never raises for what goes wrong in it.

    ``lock`` is a descriptor that the process keeps open, so that no second one begins while it lives.
    """
    late = threading.Event()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "audit_hub.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=() if lock is None else (lock,),
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,  # Ctrl-C reaches this process, which ends the other
        )

        def end() -> None:
            late.set()
            _kill(child)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError):
                child.stdin.write(json.dumps(job).encode() + b"\n")
                child.stdin.flush()  # and stays open: its end would end the process
            text = child.stdout.read(_LARGEST)
            child.wait()
        finally:
            timer.cancel()
            _kill(child)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        if late.is_set():
            return {"state": "waiting", "reason": f"not done within {seconds:g} s, so it was ended"}
        try:
            answer = json.loads(text)
            if isinstance(answer, dict) and isinstance(answer.get("state"), str):
                return answer
        except ValueError:
            pass
        return {"state": "waiting", "reason": _last_words(child.returncode, errors)}


def _last_words(code: int, errors: Any) -> str:
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4000))
    lines = errors.read().decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return veiled(f"the upload process {ended}{': ' + last[:200] if last else ''}")


def _kill(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(5.0)
