"""What ``audit train`` shows: lines, one bar per batch on a terminal, or one JSON object a line."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from audit.cli.parser import one_line

Event = Mapping[str, Any]


class Lines:
    """One JSON object a line on stdout, with the time in UTC."""

    def say(self, event: Event) -> None:
        """Print it."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"
        print(json.dumps({"time": moment, **event}, allow_nan=False, default=str), flush=True)

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
        self._bar: Any = None
        self._task: Any = None
        self._waiting = False
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
        if kind in ("finished", "stopped", "failed", "rejected"):
            self.close()
        if kind == "waiting" and self._waiting:
            return
        self._waiting = kind == "waiting"
        text = _TEXTS[kind](event) if kind in _TEXTS else None
        if text and (not self._quiet or kind in _ALWAYS):
            self._print(one_line(text))
        if kind == "batch":
            self._start(event)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def _start(self, event: Event) -> None:
        if not self._wanted:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._first = event["first_step"]
        last = event.get("last_step")
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(
            one_line(str(event["file"])), total=None if last is None else last - self._first, numbers=""
        )
        self._bar.start()

    def _step(self, event: Event) -> None:
        if self._bar is None:
            return
        known = (("loss", "loss {:.4g}"), ("learning_rate", "lr {:.3g}"))
        numbers = "  ".join(text.format(event[key]) for key, text in known if isinstance(event.get(key), int | float))
        self._bar.update(self._task, completed=event["step"] - self._first, **({"numbers": numbers} if numbers else {}))

    def _phase(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, numbers=one_line(text))

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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
    losses = event.get("first_loss"), event.get("last_loss")
    loss = f", loss {losses[0]:.4g} -> {losses[1]:.4g}" if None not in losses else ""
    return f"{event['file']}: trained to step {event['last_step']}{loss}; {event['checkpoint']} is proven and sealed"


_TEXTS: Mapping[Any, Callable[[Event], str]] = {
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
_ALWAYS = frozenset({"rejected", "duplicate", "quarantined", "skipped", "note"})
