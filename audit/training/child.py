"""The other end of :mod:`audit.training.training_process`: train or rehearse legs, report them through a pipe."""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from audit.backend.rehearsal import Rehearsal, RehearsalRequest
from audit.backend.training import Judged, LegData, LegRequest, LegResult, Tell
from audit.errors import AuditError
from audit.manager import load
from audit.training.messages import Logged, Message, message_line
from audit.training.tracking import Found, log_here


def main(descriptor: int) -> None:
    """Read requests from standard input, one a line; train each, and write messages to ``descriptor``, one a line."""
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a step is in progress there is nothing to finish
    with _requests() as requests, os.fdopen(descriptor, "w", encoding="utf-8") as stream:

        def send(message: Message) -> None:
            try:
                stream.write(message_line(message))
                stream.flush()
            except BrokenPipeError:  # the parent is gone: nobody would verify what is trained now
                os._exit(1)

        for line in requests:
            document = json.loads(line)
            _die_with(document["parent"])
            outcome = _outcome(document, send)
            for printed in (sys.stdout, sys.stderr):  # the parent looks for the last words of a leg
                with suppress(OSError, ValueError):
                    printed.flush()
            send(outcome)
            del outcome
            gc.collect()  # a model in a cycle would be in memory beside that of the next leg
            gc.freeze()  # the libraries stay; else each collection, and Trainer asks for several, goes through them


def _requests() -> IO[str]:
    """Return standard input; what is trained finds an empty one, as nobody answers questions here."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
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
