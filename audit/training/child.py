"""The other end of :mod:`audit.training.process`: train one leg, tell of it through a pipe."""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from audit.backend.training import BadData, LegData, LegFailed, LegRequest
from audit.errors import AuditError, ConfigError
from audit.manager import load


def main(descriptor: int) -> None:
    """Read the request from standard input, train, and write events to ``descriptor``, one JSON object a line."""
    gc.enable()
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # until a step is in progress there is nothing to finish, or to explain
    document = json.load(sys.stdin)
    _die_with(document["parent"])
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:

        def tell(event: Mapping[str, Any]) -> None:
            try:
                stream.write(json.dumps(event, default=str) + "\n")
                stream.flush()
            except BrokenPipeError:  # whoever should hear of it is gone: nobody would verify what is trained now
                os._exit(1)

        tell(_outcome(document, tell))


def _outcome(document: Mapping[str, Any], tell: Any) -> Mapping[str, Any]:
    fields = dict(document["request"])
    request = LegRequest(**{**fields, "data": LegData(**fields["data"])})
    try:
        result = load().trainer(document["backend"]).train(request, tell)
    except BadData as error:
        return {"event": "error", "kind": "data", "path": error.path, "row": error.row, "reason": error.reason}
    except LegFailed as error:
        return {"event": "error", "kind": "leg", "reason": error.reason, "how": error.kind, "step": error.step}
    except AuditError as error:
        return {"event": "error", "kind": "config" if isinstance(error, ConfigError) else "audit", "reason": str(error)}
    return {"event": "result", **result._asdict()}


def _die_with(parent: int) -> None:
    """End with the process that started this one: a leg that nobody watches must not train on beside the next one."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
