"""A progress bar for ``audit fleet``, on a terminal only: runs, rate, time left."""

from types import TracebackType
from typing import Any

from audit.cli.progress import wants_bar
from audit.fleet.passes import Progress
from audit.fleet.planning import Planned


class FleetBar(Progress):
    """Shows on stderr how many runs were listed, then how many have a row."""

    def __init__(self, quiet: bool) -> None:
        self._wanted = wants_bar(quiet)
        self._bar: Any = None
        self._task: Any = None

    def listed(self, runs: int) -> None:
        if self._wanted and self._bar is None:
            self._start()
        if self._bar is not None:
            self._bar.update(self._task, description=f"listing: {runs} runs")

    def planned(self, found: Planned) -> None:
        if not self._wanted or not found.audited:
            return
        if self._bar is None:
            self._start()
        self._bar.reset(self._task, total=found.audited, description="auditing")

    def done(self, runs: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, advance=runs)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        class Rate(ProgressColumn):
            """Runs a second."""

            def render(self, task: Any) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:.3g} runs/s")

        self._bar = Bar(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=60,
        )
        self._bar.start()
        self._task = self._bar.add_task("listing", total=None)

    def __enter__(self) -> "FleetBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
