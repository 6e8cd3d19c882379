"""A process that audits one run after the other: a line of JSON in, a line of JSON out, until its input ends.

It is started by :mod:`audit.fleet.supervised`. Its output is kept apart from what a plugin may print.
"""

import json
import os
import signal
import sys

from audit.fleet.one_run import audit_run
from audit.fleet.tasks import Order, Task


def main() -> None:
    """Answer tasks on the standard output; the first line of the input is the order."""
    answers = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for the answers
    order = Order.read(json.loads(sys.stdin.readline()))
    _limit(order.memory)
    from audit.manager import load

    registry = load()
    _ = (registry.rules, registry.backends)
    _freeze()
    _say(answers, "ready")
    for line in sys.stdin:
        task = Task(*json.loads(line))
        try:
            document = audit_run(task, order, registry).document()
        except MemoryError:
            document = None
        if document is None:  # what is left of the memory may be in pieces
            _say(answers, None)
            return
        _say(answers, document)


def _say(answers: int, document: object) -> None:
    data = json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"
    while data:
        data = data[os.write(answers, data) :]


def _limit(memory: int) -> None:
    """Let an allocation beyond it fail in this process, before the machine has none left for the others."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _freeze() -> None:
    """What is loaded by now stays: looking for cycles in it after every few runs is lost time."""
    import gc

    gc.collect()
    gc.freeze()
