"""A progress bar for long scans, on a terminal only."""

import os
import sys
from types import TracebackType
from typing import Any

WORTH_A_BAR = 512 << 20
"""Bytes: a scan of less is over before a bar could be read."""


def wants_bar(quiet: bool) -> bool:
    """Whether a bar is shown on stderr: it is a terminal that can redraw a line, and nobody asked for silence."""
    terminal = bool(sys.stderr) and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return not quiet and terminal and not os.environ.get("CI")


class Progress:
    """Counts bytes from several threads and shows a bar on stderr once the scan is known to be long."""

    def __init__(self, title: str, quiet: bool, doing: str = "reading") -> None:
        self._title = f"{doing} {title}"
        self._wanted = wants_bar(quiet)
        self._lock: Any = None
        if self._wanted:
            from threading import Lock

            self._lock = Lock()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int, total: int) -> None:
        """Add ``count`` bytes of ``total``."""
        if not self._wanted or total < WORTH_A_BAR:
            return
        with self._lock:
            if self._bar is None:
                from rich.console import Console
                from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

                self._bar = Progress(
                    "{task.description}",
                    BarColumn(),
                    DownloadColumn(),
                    TimeRemainingColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
                self._bar.start()
                self._task = self._bar.add_task(self._title, total=total)
            self._bar.update(self._task, advance=count)

    def stop(self) -> None:
        """Take the bar away: rich shows one at a time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._wanted = None, False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
