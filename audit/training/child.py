"""The other end of :mod:`audit.training.training_process`: train or rehearse legs, report them through a pipe."""

import gc
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from audit.backend.rehearsal import Rehearsal, RehearsalRequest
from audit.backend.training import Judged, LegData, LegRequest, LegResult, Step, Tell
from audit.errors import AuditError
from audit.manager import load
from audit.training.logging_thread import Call, LoggingThread
from audit.training.messages import Logged, Message, message_line
from audit.training.tracking import Found, log_here


def main(descriptor: int) -> None:
    """Read requests from standard input, one a line; train each, and write messages to ``descriptor``, one a line."""
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a step is in progress there is nothing to finish
    requests = _Requests(_requests())
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        trained: list[Mapping[str, Any]] = []
        logging = LoggingThread()

        def send(message: Message) -> None:
            if isinstance(message, Step) and trained and (failed := logging.at_step(next_call)) is not None:
                send(Logged(failed))
            try:
                stream.write(message_line(message))
                stream.flush()
            except BrokenPipeError:  # the parent is gone: nobody would verify what is trained now
                os._exit(1)

        def next_call() -> tuple[Call, float] | None:
            found = requests.meanwhile()
            return None if found is None else (partial(_logged, trained[0], found), found["seconds"])

        for document in requests:
            _die_with(document["parent"])
            trained[:] = [document] if "found" not in document else []
            outcome = _outcome(document, send) if trained else _logged_at_end(document, requests, logging)
            for printed in (sys.stdout, sys.stderr):  # the parent looks for the last words of a leg
                with suppress(OSError, ValueError):
                    printed.flush()
            send(outcome)
            del outcome
            gc.collect()  # a model in a cycle would be in memory beside that of the next leg
            gc.freeze()  # the libraries stay; else each collection, and Trainer asks for several, goes through them


class _Requests:
    """The requests, and apart from them what is to be logged while a leg is trained: a thread reads both.

    It reads the descriptor itself: a file has a lock, which a thread that reads holds, and whoever ends would wait.
    """

    def __init__(self, descriptor: int) -> None:
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._meanwhile: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(descriptor,), name="requests", daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._requests.get, None)

    def meanwhile(self) -> dict[str, Any] | None:
        """Return all that is to be logged now, as one; None if there is nothing."""
        found: dict[str, Any] | None = None
        with suppress(queue.Empty):
            while True:
                new = self._meanwhile.get_nowait()
                found = {**new, "judged": [*(found["judged"] if found else ()), *new["judged"]]}
        return found

    def _read(self, descriptor: int) -> None:
        rest = b""
        while block := os.read(descriptor, 1 << 16):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._put(line)
        if rest:
            self._put(rest)
        self._requests.put(None)

    def _put(self, line: bytes) -> None:
        document = json.loads(line)
        if document.get("meanwhile"):
            self._meanwhile.put(document["found"])
        else:
            self._requests.put(document)


def _logged(document: Mapping[str, Any], found: Mapping[str, Any]) -> Mapping[str, str]:
    """Log what was found at saves of the leg that is being trained; return why trackers did not take it."""
    outcome = _outcome({**document, "found": found}, lambda event: None)
    return outcome.failed if isinstance(outcome, Logged) else {"": str(outcome)}


def _logged_at_end(document: Mapping[str, Any], requests: _Requests, logging: LoggingThread) -> Message:
    """Log what was found after a leg, and before it what is left of its saves.

    In a thread, so that the tracker that takes too long is named. The parent ends this process then.
    """
    before = logging.ended() or {}
    if "" in before:
        return AuditError(before[""])
    early = requests.meanwhile()
    if early is not None:  # the leg has had no step since
        document["found"]["judged"] = [*early["judged"], *document["found"]["judged"]]
    found = document["found"]
    try:
        return Logged({**before, **logging.log(partial(_logged, document, found), found["seconds"])})
    except AuditError as error:
        return error


def _requests() -> int:
    """Return the descriptor of standard input; what is trained finds an empty one, as nobody answers questions here."""
    requests = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def _outcome(document: Mapping[str, Any], tell: Tell) -> LegResult | Rehearsal | Logged | AuditError:
    fields = dict(document["request"])
    request = LegRequest(**{**fields, "data": LegData(**fields["data"])})
    try:
        registry = load()
        trainer: Any = registry.trainer(document["backend"])
        if "found" in document:
            judged = [Judged(**item) for item in document["found"]["judged"]]
            return Logged(log_here(trainer, registry, request.run, Found(**{**document["found"], "judged": judged})))
        if document.get("rehearse") is None:
            trained: LegResult = trainer.train(request, tell)
            return trained
        arrivals = tuple((int(step), str(path)) for step, path in document["rehearse"]["arrivals"])
        asked = RehearsalRequest(request, int(document["rehearse"]["steps"]), arrivals)
        rehearsed: Rehearsal = trainer.rehearse(asked, tell)
        return rehearsed
    except AuditError as error:
        return error


def _die_with(parent: int) -> None:
    """End with the process that started this one: an abandoned leg must not train beside the next one."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
