"""The process that talks to the Hub: ``python -m audit_hub.worker``, one job a process.

The job is a line of JSON on stdin, the answer one on stdout. The process ends when stdin is closed, so it never
outlives the one that started it; that one kills it at its deadline.
"""

import json
import os
import sys
import threading
from contextlib import suppress
from typing import Any

from audit_hub.failures import Failure, failure_of


def main() -> None:
    """Do the job and answer."""
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries may print
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer = json.dumps(done(job)).encode() + b"\n"
    with suppress(BrokenPipeError):
        while answer:
            answer = answer[os.write(answers, answer) :]
    os._exit(0)  # no thread of a library is waited for


def done(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job; what fails is an answer, too."""
    token = None
    try:
        try:
            from audit_hub.client import Hub
            from audit_hub.jobs import JOBS, READING
        except ImportError as error:
            reason = f"{error.name} is not installed: pip install 'checkpoint-audit[hub]'"
            return {"state": "stuck", "reason": reason}
        hub = Hub(reading=job["job"] in READING)
        token = hub.token
        return JOBS[job["job"]](hub, job)
    except Exception as error:
        if os.environ.get("AUDIT_TRACEBACK"):
            raise
        return Failure(*failure_of(error, token))._asdict()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
