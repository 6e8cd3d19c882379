"""What ``audit train`` shows: lines, one bar per batch on a terminal, or one JSON object per line."""

import json
import os
import sys
from typing import Any, assert_never

from audit.backend.training import Note, Phase, Step
from audit.cli.parser import drop_stdout, one_line
from audit.cli.progress import wants_bar
from audit.text import plain, utc_time
from audit.training.events import (
    BatchFailed,
    BatchFinished,
    BatchStarted,
    CheckpointPutBack,
    CheckpointQuarantined,
    CheckpointRotated,
    CheckpointSkipped,
    CheckpointTorn,
    DayTrained,
    DiskShort,
    Event,
    FileDropped,
    FileDuplicate,
    FileIgnored,
    FileRejected,
    FileRetired,
    LegRetried,
    NothingToTrain,
    RunTakenBack,
    SnapshotMade,
    TrainingError,
    TrainingRefused,
    TrainingStopped,
    WaitingForFiles,
    as_json,
)

STAMP = "%Y-%m-%d %H:%M:%S UTC"
NARROW = 80
"""Columns: a narrower terminal has no room for the remaining time."""


def json_line(event: Event) -> str:
    """Return an event as one line of JSON, in ASCII; numbers that are not finite are text."""
    return json.dumps({"time": utc_time(), **plain(as_json(event))})


def text_of(event: Event) -> str | None:
    """Return the line for people, None if the event has none. It is one line, whatever a name or a reason contains."""
    text = _text(event)
    return one_line(text) if text is not None else None


def _text(event: Event) -> str | None:
    match event:
        case BatchStarted():
            return _batch(event)
        case BatchFinished():
            return _finished(event)
        case FileRetired() | FileRejected() | FileDuplicate() | FileDropped():
            return f"{event.file}: {_moved(event)}"
        case RunTakenBack():
            return _taken_back(event)
        case BatchFailed():  # any other failure is the reason of the refusal that ends the call
            return f"{event.file}: {event.reason}" if event.kind == "changed" else None
        case TrainingStopped():
            return _stopped(event)
        case (
            CheckpointSkipped() | CheckpointQuarantined() | CheckpointPutBack() | CheckpointTorn() | CheckpointRotated()
        ):
            return _checkpoint(event)
        case SnapshotMade():
            return f"snapshot: {_short(event.path)}"
        case LegRetried() | DiskShort() | DayTrained():
            return _told(event)
        case WaitingForFiles():
            return f"waiting for files in {_short(event.inbox)}"
        case NothingToTrain():
            return f"nothing to train: no file is waiting in {_short(event.inbox)}"
        case FileIgnored():
            return f"{event.file}: ignored: {event.reason}"
        case Note():
            return f"note: {event.text}"
        case Step() | Phase():  # shown by the bar
            return None
        case TrainingRefused() | TrainingError():  # shown on stderr
            return None
    assert_never(event)


def _short(path: str) -> str:
    """A path below the current directory, relative to it."""
    here = os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here.rstrip(os.sep) + os.sep) else path


class Lines:
    """One JSON object per line on stdout, with the time in UTC."""

    def __init__(self) -> None:
        self._out = _Out()

    def show(self, event: Event) -> None:
        """Print it."""
        self._out.line(json_line(event))

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Screen:
    """Lines for people; on a terminal a bar with loss and learning rate while a batch is trained.

    With ``stamped`` each line begins with the time, as a daemon's log needs it.
    """

    def __init__(self, quiet: bool, bar: bool = True, stamped: bool = False) -> None:
        self._wanted = bar and wants_bar(quiet)
        self._quiet, self._stamped = quiet, stamped
        self._out = _Out()
        self._bar: Any = None
        self._task: Any = None
        self._first = 0

    def show(self, event: Event) -> None:
        """Show what is worth a line, or a movement of the bar."""
        if isinstance(event, Step):
            self._step(event)
            return
        if isinstance(event, Phase):
            self._phase(event.text)
            return
        if isinstance(event, _ENDS):
            self.close()
        text = text_of(event)
        if text and (not self._quiet or isinstance(event, _ALWAYS)):
            self._print(text)
        if isinstance(event, BatchStarted) and self._wanted:
            self._start(event)

    def close(self) -> None:
        """End the bar."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    def _print(self, text: str) -> None:
        if self._stamped:
            text = f"{utc_time(form=STAMP)}  {text}"
        if self._bar is not None and sys.stdout is not None and sys.stdout.isatty():
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._out.line(text)

    def _start(self, event: BatchStarted) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        self.close()
        self._first = event.first_step
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
            one_line(event.file), total=None if event.last_step is None else event.last_step - self._first, numbers=""
        )
        self._bar.start()

    def _step(self, event: Step) -> None:
        if self._bar is None:
            return
        known = (("loss {:.4g}", event.loss), ("lr {:.3g}", event.learning_rate))
        numbers = "  ".join(text.format(value) for text, value in known if value is not None)
        self._bar.update(self._task, completed=event.step - self._first, **({"numbers": numbers} if numbers else {}))

    def _phase(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, numbers=one_line(text))

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Out:
    """Lines on stdout. If nobody reads them any more, or the disk they go to is full, training continues without."""

    def line(self, text: str) -> None:
        if sys.stdout is None:
            return
        try:
            sys.stdout.flush()  # what was printed before
            sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "backslashreplace"))
            sys.stdout.flush()
        except (OSError, ValueError):
            drop_stdout()


def _checkpoint(
    event: CheckpointSkipped | CheckpointQuarantined | CheckpointPutBack | CheckpointTorn | CheckpointRotated,
) -> str:
    match event:
        case CheckpointSkipped():
            return f"skipped {event.checkpoint}: {event.reason}"
        case CheckpointQuarantined():
            return f"{event.checkpoint}: moved to .audit/quarantine/{event.to}: {event.reason}"
        case CheckpointPutBack():
            return f"{event.checkpoint}: restored from its pin in .audit/pinned/"
        case CheckpointTorn():
            return f"{event.checkpoint}: incomplete, as the last call was interrupted while saving it; removed"
        case CheckpointRotated():
            return f"{event.checkpoint}: deleted, as save_total_limit requires; the last call was interrupted before it did"
    assert_never(event)


def _moved(event: FileRetired | FileRejected | FileDuplicate | FileDropped) -> str:
    match event:
        case FileRetired():
            return f"moved to {_short(event.to)}" if event.to else "deleted"
        case FileDropped():
            return f"dropped{f', moved to {_short(event.to)}' if event.to else ''}"
    return f"set aside in {_short(event.to)}: {event.reason}"


def _taken_back(event: RunTakenBack) -> str:
    steps = f"steps {event.step + 1} to {event.reached} are given up" if event.reached > event.step else ""
    aside = f"{', '.join(event.aside)} set aside in .audit/quarantine/" if event.aside else ""
    again = f"to be trained again: {', '.join(event.again)}" if event.again else ""
    dropped = f"dropped for good: {', '.join(event.dropped)}" if event.dropped else ""
    return f"back to {'; '.join(part for part in (event.checkpoint, steps, aside, again, dropped) if part)}"


def _batch(event: BatchStarted) -> str:
    first, last, examples, done = event.first_step, event.last_step, event.examples, event.first_example
    steps = f"from step {first + 1} on"
    if last is not None:
        steps = f"steps {first + 1} to {last}" if last > first + 1 else f"step {last}"
    count = f"{examples} example{'s' * (examples != 1)}, " if examples is not None and not done else ""
    if done:
        count = f"examples {done + 1} to {examples}, " if examples is not None else f"from example {done + 1} on, "
    origin = f"after {os.path.basename(event.resumed_from)}" if event.resumed_from else "from scratch"
    return f"{event.file}: {count}{steps}, {origin}"


def _finished(event: BatchFinished) -> str:
    first, last = event.first_loss, event.last_loss
    loss = f", loss {first:.4g} -> {last:.4g}" if first is not None and last is not None else ""
    best = ""
    if event.best is not None:
        best = ", and the best so far" if event.best == event.checkpoint else f"; {event.best} is still the best"
    return f"{event.file}: trained to step {event.last_step}{loss}; {event.checkpoint} is proven and sealed{best}"


def _told(event: LegRetried | DiskShort | DayTrained) -> str:
    match event:
        case LegRetried():
            return f"{event.file}: {event.kind}; tried again in {event.seconds:g} s ({event.attempt} of {event.times})"
        case DiskShort():
            return f"warning: {event.reason}"
        case DayTrained():
            return _day(event)
    assert_never(event)


def _day(event: DayTrained) -> str:
    count = f", {event.examples} examples" if event.examples is not None else ""
    first, last = event.first_loss, event.last_loss
    loss = f", loss {first:.4g} -> {last:.4g}" if first is not None and last is not None else ""
    many = "es" if event.batches != 1 else ""
    steps = f"steps {event.first_step + 1} to {event.last_step}"
    return f"{event.day}: trained {event.batches} batch{many}{count}, {steps}{loss}"


def _stopped(event: TrainingStopped) -> str:
    if event.saved:
        return f"stopped at step {event.step}, saved; run the same command to continue"
    return (
        f"stopped at step {event.step}, whose checkpoint is not proven ({event.reason}); "
        "run the same command to continue from an older one"
    )


_ENDS = (BatchFinished, TrainingStopped, BatchFailed, LegRetried, FileRejected)
_ALWAYS = (
    FileRejected,
    FileDuplicate,
    CheckpointQuarantined,
    CheckpointSkipped,
    BatchFailed,
    LegRetried,
    DiskShort,
    Note,
)
