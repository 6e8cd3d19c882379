"""Push from inside a training: queue, start the process that works the queue off, go on."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from audit.plugin import AUDIT_DIR, Options
from audit_hub.queue import enqueue
from audit_hub.settings import Settings, settings_of

WAIT_SECONDS = 24 * 3600
"""How long the process goes on trying. What is left then is tried with the next checkpoint, or by hand."""
LOG = "push.log"
_STARTED: list["subprocess.Popen[bytes]"] = []


def pushing(
    run: str, table: Mapping[str, Any], options: Options | None = None
) -> Callable[[Mapping[str, Any]], str | None]:
    """Return what hears of the events of ``audit train`` and pushes what each batch ended with. Raises ConfigError.

    ``options`` are those by which the training has proven it: by others it might not be proven.
    """
    settings = settings_of(table)

    def hear(event: Mapping[str, Any]) -> str | None:
        if event["event"] != "finished":
            return None
        try:
            return push(run, event["checkpoint"], settings, options)
        except Exception as error:  # the next one may do
            return f"{event['checkpoint']} is not pushed: {error}"

    return hear


def push(run: str, checkpoint: str, settings: Settings, options: Options | None = None) -> str | None:
    """Queue a checkpoint and start the process that pushes it; return what there is to know.

    Raises RefusedError if it is not proven or has a secret in it, AuditError if it cannot be queued.
    """
    chosen = (options or Options())._replace(settle_seconds=0.0)  # its trainer has saved it
    queued = enqueue(run, checkpoint, settings, chosen)
    start(run)
    return "; ".join(queued.notes) or None


def start(run: str) -> None:
    """Start a process that works off the queue of a run and outlives this one; it logs to ``.audit/push.log``."""
    path = os.path.join(run, AUDIT_DIR, LOG)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        _STARTED[:] = [child for child in _STARTED if child.poll() is None]  # or each would stay as a zombie
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "audit_hub.background", os.path.abspath(run)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,  # the end of the training's terminal is not its end
        )
        _STARTED.append(child)
    finally:
        os.close(descriptor)


def main(run: str) -> None:
    """Work off the queue until it is empty, or for a day; tests shorten the pauses with AUDIT_HUB_PAUSE."""
    from audit_hub.working import Patience, work

    pause = float(os.environ.get("AUDIT_HUB_PAUSE") or 0)
    patience = Patience(wait=WAIT_SECONDS, now=False)
    work(run, patience._replace(pause=pause) if pause else patience, lambda _, text: print(text), background=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
