"""``audit watch RUN``: a run live in the terminal, whoever trains it."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audit.backend.names import is_checkpoint
from audit.cli.documents import add_format, write_document
from audit.cli.options import LOCAL_RUN, configured
from audit.cli.parser import columns, one_line, use_color, write
from audit.cli.table import colored, table, wrapped
from audit.cli.values import decimal
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.judging.auditor import Auditor, refuse_unread
from audit.judging.standing import REHEARSED
from audit.ledger.progress import Progress, read_progress
from audit.manager import load
from audit.report import Report, in_words
from audit.retention.lock import Holder, holder_of
from audit.text import human_bytes, shortened, utc_time
from audit.views.live import View, Watched

if TYPE_CHECKING:
    from audit.views.summary import Overview

EXAMPLES = (
    ("audit watch current_model/", "step, loss, learning rate, checkpoints and disk, until Ctrl-C"),
    ("audit watch current_model/ --every 10", "look every ten seconds; where stdout is no terminal, only once"),
    ("audit watch current_model/ --format json", "look once, and print what is seen as JSON"),
)
EVERY_SECONDS = 1.0
HEIGHT = 24
"""Lines of a snapshot's terminal, as far as it limits the number of checkpoints."""
FINDINGS, EVENTS = 3, 5
"""Findings and past events that are shown."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=f"{LOCAL_RUN}; it need not exist yet")
    parser.add_argument(
        "--every",
        type=decimal("a time from 0.1 to 3600 seconds", 0.1, 3600),
        default=EVERY_SECONDS,
        metavar="SECONDS",
        help="time between two looks (default: 1)",
    )
    add_format(parser)


def call(arguments: argparse.Namespace) -> int:
    """Show the run until Ctrl-C, which is success; elsewhere than on a terminal, and as JSON, print it once."""
    path = arguments.run
    if is_checkpoint(os.path.basename(os.path.abspath(path))):
        raise AuditError(f"{path}: is one checkpoint; give the run that holds it")
    as_json = arguments.format == "json"
    terminal = not as_json and sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if not terminal or os.path.lexists(path):
        locate(path)
    registry = load()
    options = configured(registry)
    if os.path.lexists(path):
        refuse_unread(Auditor(options, registry).open_quick(path))
    watched = Watched(path, options, registry)
    if terminal and not os.environ.get("CI"):
        return _live(watched, arguments.every)
    watched.refresh()
    if as_json:
        write_document(_document(watched))
    else:
        write("".join(f"{line}\n" for line in _lines(watched)), None)
    return 0


def _at_work(path: str) -> tuple[Holder | None, Progress | None]:
    """Who holds the run's lock, and where the training is that holds it."""
    holder = holder_of(path)
    return holder, read_progress(path, holder.since) if holder is not None else None


def _document(watched: Watched) -> dict[str, Any]:
    """What is seen at one look."""
    view, (holder, noted) = watched.view, _at_work(watched.path)
    return {
        "run": watched.path,
        "time": utc_time(),
        "process": holder._asdict() if holder is not None else None,
        "training": noted._asdict() if noted is not None else None,
        "max_steps": view.max_steps,
        "free_bytes": watched.free,
        "verdict": view.report.verdict if view.report is not None else None,
        "resume_from": view.report.resume_from if view.report is not None else None,
        "problem": view.problem,
        "checkpoints": [row._asdict() for row in view.rows],
    }


def _live(watched: Watched, every: float) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(width=columns(), no_color=not use_color(sys.stdout), legacy_windows=False)

    def screen() -> Text:
        console.width = columns()
        return Text.from_ansi("\n".join(_lines(watched, console.height)), no_wrap=True, overflow="ellipsis")

    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            while True:
                watched.refresh()
                live.update(screen(), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _lines(watched: Watched, height: int = HEIGHT) -> Iterator[str]:
    """The whole screen, line by line; the newest checkpoints that fit into ``height`` lines."""
    view, (holder, noted) = watched.view, _at_work(watched.path)
    yield one_line(f"{watched.path}  {utc_time(form='%H:%M:%S')} UTC")
    yield f"process   {one_line(f'{holder}') if holder is not None else 'none holds the lock of this run'}"
    yield from _where(view.rows, noted, view.max_steps)
    free = watched.free
    used = f"; checkpoints {human_bytes(sum(row.bytes for row in view.rows))}" if view.rows else ""
    yield f"disk      {'unknown' if free is None else f'{human_bytes(free)} free'}{used}"
    if view.report is None:
        problem = (view.problem or "").removeprefix(f"{watched.path}: ")
        yield from wrapped(f"verdict   none: {one_line(problem)}", 10).splitlines()
    else:
        yield from _judged(view, view.report, height - 12 - min(len(watched.events), EVENTS))
    if watched.events:
        yield ""
    for event in watched.events[-EVENTS:]:
        yield _cut(f"{utc_time(event.time, '%H:%M:%S')}  {one_line(event.text)}")


def _judged(view: View, report: Report, room: int) -> Iterator[str]:
    """The verdict, the first findings, and the newest checkpoints: about ``room`` lines of both."""
    resume = f"resume from {report.resume_from}" if report.resume_from else "nothing to resume from"
    rest = " by structure" if any(item.by_structure for item in report.checkpoints) else ""
    yield f"verdict   {colored(report.verdict)}{rest}; {resume}"
    found = [item for item in report.findings if item.severity.rank > 0]
    for item in found[:FINDINGS]:
        yield _cut(one_line(f"  {item.severity.value}  {item.rule}  {item.checkpoint or 'the run'}: {item.message}"))
    if len(found) > FINDINGS:
        yield f"  and {len(found) - FINDINGS} more; audit verify lists them"
    yield ""
    room = max(3, room - min(len(found), FINDINGS + 1))
    yield from _table(view.rows[-room:]).splitlines()
    if len(view.rows) > room:
        yield f"and {len(view.rows) - room} older"


def _where(rows: "Sequence[Overview]", noted: Progress | None, max_steps: int | None) -> Iterator[str]:
    """The step, from the training itself if it says so, else as of the newest checkpoint that has a log."""
    last = next((row for row in reversed(rows) if row.global_step is not None), None)
    if noted is not None:
        yield f"step      {_of(noted.step, noted.last_step)}{_logged(noted.loss, noted.learning_rate)}"
    elif last is not None:
        step = _of(last.global_step or 0, max_steps)
        yield f"step      {step}{_logged(last.loss, last.learning_rate)}, as of {last.name}"
    else:
        yield "step      unknown before the first save"


def _of(step: int, last: int | None) -> str:
    return f"{step} of {last}" if last is not None and last >= step else str(step)


def _logged(loss: float | None, rate: float | None) -> str:
    known = (("loss", loss), ("learning rate", rate))
    return "".join(f"  {name} {value:.4g}" for name, value in known if value is not None)


def _table(rows: "Sequence[Overview]") -> str:
    heads = ("CHECKPOINT", "STEP", "LOSS", "LR", "SIZE", "SAVED (UTC)", "STATE", "")
    cells = [
        (
            row.name,
            row.global_step,
            row.loss,
            row.learning_rate,
            human_bytes(row.bytes),
            (row.saved or "")[11:19] or None,
            in_words(row.state, row.by_structure),
            "; ".join(filter(None, (row.remark, REHEARSED[row.rehearsed], row.reason))),
        )
        for row in rows
    ]
    return table(heads, cells, drop=("LR", "SIZE", "STEP", "SAVED (UTC)", "LOSS"))


def _cut(line: str) -> str:
    """A line as wide as the terminal; elsewhere it is whole."""
    return shortened(line, columns()) if sys.stdout.isatty() else line
