"""Tells somebody of what happens, in a thread of its own: training waits for nobody, and nobody can make it fail."""

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from audit.backend.training import Note
from audit.errors import AuditError
from audit.text import plain, utc_time
from audit.training.config import TrainConfig
from audit.training.delivery import Delivery, NotToldError, check_installed
from audit.training.events import NAMES, Emit, Event, TrainingError, TrainingRefused, as_json
from audit.training.run_state import TrainRefused

SCHEMA_VERSION = 1
MOST = 100
"""Events that wait to be told; of more the oldest ones are dropped, with a note."""
SPARE = 1.0
"""Seconds that a call waits at its end, beyond the time of one try, for the last events to be told."""


class Notifier:
    """Passes events on to ``show``, and tells those that the configuration names.

    What could not be told is a note, shown with the next event or at the end: only the main thread shows anything.
    """

    def __init__(self, config: TrainConfig, show: Emit) -> None:
        self._settings, self._run, self._show = config.notify, config.run, show
        self._delivery = Delivery(config.notify)
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._telling = False
        self._problems: deque[str] = deque(maxlen=MOST)
        self._said: set[str] = set()
        self._thread: threading.Thread | None = None

    def emit(self, event: Event) -> None:
        """Show an event, and have it told if it is one of those."""
        self._show(event)
        self._show_problems()
        self.tell(event)

    def tell(self, event: Event) -> None:
        """Have an event told that was shown already."""
        if not self._settings.told or NAMES[type(event)] not in self._settings.events:
            return
        with self._changed:
            if len(self._waiting) == MOST:
                self._waiting.popleft()
                self._problems.append(f"not told: the oldest of more than {MOST} events, as nobody took them")
            self._waiting.append(document(event, self._run))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="audit-notify", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for what is still to be told, for the time of one try at most; then give it up, with a note."""
        if self._thread is None:
            return
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(self._settings.timeout_seconds + SPARE)
        if self._thread.is_alive():
            with self._changed:
                left = len(self._waiting) + self._telling
                self._waiting.clear()
            self._problems.append(f"{left} event{'s' * (left != 1)} not told: the training has ended")
            self._delivery.stop()
        self._show_problems()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._telling = False
                self._changed.wait_for(lambda: bool(self._waiting) or self._ending)
                if not self._waiting:
                    return
                told = self._waiting.popleft()
                self._telling = True
            for name, way in self._delivery.ways.items():
                try:
                    self._delivery.deliver(way, told)
                    self._said.discard(name)
                except NotToldError as error:
                    if name not in self._said:  # once, until it works again
                        self._problems.append(f"{told['event']} not told: {name} {error}")
                    self._said.add(name)
                except Exception as error:  # a fault here must not end in a silent thread
                    self._problems.append(f"{told['event']} not told: {name}: {type(error).__name__}")

    def _show_problems(self) -> None:
        while self._problems:
            self._show(Note(self._problems.popleft()))


def notified(config: TrainConfig, show: Emit, call: Callable[[Emit], int]) -> int:
    """Return what ``call`` returns; its events, and why it ended if it raised AuditError, are shown and told.

    Of several processes only the first one tells.
    """
    if not config.notify.told or os.environ.get("RANK", "0") != "0":
        return call(show)
    check_installed()
    notifier = Notifier(config, show)
    try:
        return call(notifier.emit)
    except AuditError as error:
        refused = isinstance(error, TrainRefused)
        notifier.tell(TrainingRefused(str(error)) if refused else TrainingError(str(error)))
        raise
    finally:
        notifier.close()


def document(event: Event, run: str) -> dict[str, Any]:
    """Return the JSON object that is told: that of ``--log-format json``, the run, and a line for people."""
    fields: dict[str, Any] = plain(as_json(event))
    named = {"schema_version": SCHEMA_VERSION, "time": utc_time(), "run": run, **fields}
    return {"text": _line(run, fields), **named}


def _line(run: str, fields: Mapping[str, Any]) -> str:
    """Chat services show the key ``text`` of what they are sent."""
    what = [
        f"{key} {value}"
        for key, value in fields.items()
        if key not in ("event", "file", "reason") and value is not None
    ]
    parts = [os.path.basename(run), str(fields["event"]), fields.get("file"), ", ".join(what), fields.get("reason")]
    return ": ".join(part for part in parts if part)
