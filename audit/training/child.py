"""The other end of :mod:`audit.training.process`: train one leg and report it through a pipe."""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from audit.backend.training import LegData, LegRequest, LegResult, Tell
from audit.errors import AuditError
from audit.manager import load
from audit.training.messages import Message, message_line


def main(descriptor: int) -> None:
    """Read the request from standard input, train, and write messages to ``descriptor``, one a line."""
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a step is in progress there is nothing to finish
    document = json.load(sys.stdin)
    _die_with(document["parent"])
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:

        def send(message: Message) -> None:
            try:
                stream.write(message_line(message))
                stream.flush()
            except BrokenPipeError:  # the parent is gone: nobody would verify what is trained now
                os._exit(1)

        send(_outcome(document, send))


def _outcome(document: Mapping[str, Any], tell: Tell) -> LegResult | AuditError:
    fields = dict(document["request"])
    request = LegRequest(**{**fields, "data": LegData(**fields["data"])})
    try:
        return load().trainer(document["backend"]).train(request, tell)
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
