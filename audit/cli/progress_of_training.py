"""What ``audit train`` shows: lines, one bar per batch on a terminal, or one JSON object a line."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from audit.cli.parser import drop_stdout, one_line
from audit.text import key_text, plain, utc_time

Event = Mapping[str, Any]


PATHS = ("to", "path", "inbox")
"""Values of events that are paths: shown from the current directory on where they lie in it."""
NARROW = 80
"""Columns: a terminal of less has no room for the time that remains."""


def json_line(event: Event) -> str:
    """Return an event as one line of JSON, in ASCII: what is no finite number is text, what is no plain value its text."""
    moment = utc_time()
    return json.dumps({"time": moment, **{key_text(key): plain(event[key]) for key in event if key != "time"}})


def text_of(event: Event) -> str | None:
    """Return the line for people that an event is worth, None for none. One line, whatever stands in the event."""
    make = _TEXTS.get(event.get("event"))
    if make is None:
        return None
    shown = {**event, **{key: _short(event[key]) for key in PATHS if isinstance(event.get(key), str)}}
    try:
        text = make(shown)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # of another version, perhaps
        text = json_line(shown)
    return one_line(text) if text is not None else None


def _short(path: str) -> str:
    here = os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here.rstrip(os.sep) + os.sep) else path


class Lines:
    """One JSON object a line on stdout, with the time in UTC."""

    def __init__(self) -> None:
        self._out = _Out()

    def say(self, event: Event) -> None:
        """Print it."""
        self._out.line(json_line(event))

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Screen:
    """Lines for people; on a terminal a bar with loss and learning rate while a batch is trained."""

    def __init__(self, quiet: bool, bar: bool = True) -> None:
        terminal = bool(sys.stderr) and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._wanted = bar and terminal and not quiet and not os.environ.get("CI")
        self._quiet = quiet
        self._out = _Out()
        self._bar: Any = None
        self._task: Any = None
        self._first = 0

    def say(self, event: Event) -> None:
        """Show what is worth a line, or a movement of the bar."""
        kind = event.get("event")
        if kind == "step":
            self._step(event)
            return
        if kind == "phase":
            self._phase(str(event.get("text")))
            return
        if kind in _ENDS:
            self.close()
        text = text_of(event)
        if text and (not self._quiet or kind in _ALWAYS):
            self._print(text)
        if kind == "batch" and self._wanted:
            self._start(event)

    def close(self) -> None:
        """End the bar."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    def _print(self, text: str) -> None:
        if self._bar is not None and sys.stdout is not None and sys.stdout.isatty():
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._out.line(text)

    def _start(self, event: Event) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        self.close()
        first, last = _whole(event.get("first_step")), _whole(event.get("last_step"))
        self._first = first or 0
        console = Console(stderr=True)
        columns = [
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width // 4)),
            ),
            BarColumn(bar_width=max(4, min(30, console.width - 76))),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn(
                "{task.fields[numbers]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
        ]
        if console.width >= NARROW:
            columns.append(TimeRemainingColumn(compact=True))
        self._bar = Progress(
            *columns, console=console, transient=True, expand=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._bar.add_task(
            one_line(str(event.get("file"))), total=None if last is None else last - self._first, numbers=""
        )
        self._bar.start()

    def _step(self, event: Event) -> None:
        step = _whole(event.get("step"))
        if self._bar is None or step is None:
            return
        known = (("loss", "loss {:.4g}"), ("learning_rate", "lr {:.3g}"))
        values = [(text, _number(event.get(key))) for key, text in known]
        numbers = "  ".join(text.format(value) for text, value in values if value is not None)
        self._bar.update(self._task, completed=step - self._first, **({"numbers": numbers} if numbers else {}))

    def _phase(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, numbers=one_line(text))

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Out:
    """Lines on stdout. Where nobody reads them any more, or the disk they go to is full, training goes on without."""

    def line(self, text: str) -> None:
        if sys.stdout is None:
            return
        try:
            sys.stdout.flush()  # what was printed before
            sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "backslashreplace"))
            sys.stdout.flush()
        except (OSError, ValueError):
            drop_stdout()


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53 else None


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _batch(event: Event) -> str:
    first, last = event["first_step"], event.get("last_step")
    steps = f"steps {first + 1} to {last}" if last is not None else f"from step {first + 1} on"
    examples, done = event.get("examples"), event.get("first_example")
    count = f"{examples} examples, " if examples is not None and not done else ""
    if done:
        count = f"examples {done + 1} to {examples}, " if examples is not None else f"from example {done + 1} on, "
    origin = f"after {os.path.basename(event['resumed_from'])}" if event.get("resumed_from") else "from scratch"
    return f"{event['file']}: {count}{steps}, {origin}"


def _finished(event: Event) -> str:
    first, last = _number(event.get("first_loss")), _number(event.get("last_loss"))
    loss = f", loss {first:.4g} -> {last:.4g}" if first is not None and last is not None else ""
    return f"{event['file']}: trained to step {event['last_step']}{loss}; {event['checkpoint']} is proven and sealed"


_TEXTS: Mapping[Any, Callable[[Event], str | None]] = {
    "batch": _batch,
    "finished": _finished,
    "retired": lambda event: f"{event['file']}: {'moved to ' + event['to'] if event.get('to') else 'deleted'}",
    "rejected": lambda event: f"{event['file']}: set aside in {event['to']}: {event['reason']}",
    "duplicate": lambda event: f"{event['file']}: set aside in {event['to']}: {event['reason']}",
    "quarantined": lambda event: f"{event['checkpoint']}: moved to .audit/quarantine/{event['to']}: {event['reason']}",
    "put-back": lambda event: f"{event['checkpoint']}: put back from its pin, .audit/pinned/",
    "rotated": lambda event: (
        f"{event['checkpoint']}: deleted, as save_total_limit says; the last call was cut off before"
    ),
    "failed": lambda event: f"{event['file']}: {event['reason']}" if event.get("kind") == "changed" else None,
    "torn": lambda event: f"{event['checkpoint']}: was not written to its end by the last call; removed",
    "skipped": lambda event: f"skipped {event['checkpoint']}: {event['reason']}",
    "stopped": lambda event: (
        f"stopped at step {event['step']}, saved; the next call goes on there"
        if event.get("saved")
        else f"stopped at step {event['step']}, where no checkpoint is proven ({event.get('reason')}); "
        "the next call goes on from an older one"
    ),
    "note": lambda event: f"note: {event['text']}",
    "snapshot": lambda event: f"snapshot: {event['path']}",
    "waiting": lambda event: f"waiting for files in {event['inbox']}",
}
_ENDS = frozenset({"finished", "stopped", "failed", "rejected"})
_ALWAYS = frozenset({"rejected", "duplicate", "quarantined", "skipped", "failed", "note"})
