"""Plugins that hear of the events of ``audit train`` (the hook ``audit_observers``), each with a table of its own.

None of them can end a training: what one raises is a note, and then it is not asked again.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from audit.backend.training import Note
from audit.errors import AuditError
from audit.manager import Registry
from audit.text import first_line, plain
from audit.training.config import TrainConfig
from audit.training.events import Emit, Event, as_json

Ear = Callable[[Mapping[str, Any]], str | None]


def observed(config: TrainConfig, registry: Registry, show: Emit, call: Callable[[Emit], int]) -> int:
    """Return what ``call`` returns; its events are shown, and the observers of the configuration hear of them.

    Of several processes only the first one has observers. Raises ConfigError if a table is not valid.
    """
    if not config.observed or os.environ.get("RANK", "0") != "0":
        return call(show)
    home = os.path.dirname(os.path.abspath(config.path))
    ears: dict[str, Ear] = {
        item.table: item.begin(config.run, config.observed[item.table], home, config.verify)
        for item in registry.observers
        if item.table in config.observed
    }

    def emit(event: Event) -> None:
        show(event)
        told = plain(as_json(event))
        for name, hear in list(ears.items()):
            try:
                note = hear(told)
            except (Exception, SystemExit) as error:
                del ears[name]
                kind = "" if isinstance(error, AuditError) else f"{type(error).__name__}: "
                note = f"{kind}{first_line(error)}; it hears of nothing more in this call"
            if note:
                show(Note(f"[{name}] {note}"))

    return call(emit)
