"""Columns for the terminal: numbers to the right, text to the left, fitted to its width.

Into a pipe or a file a table is plain text at its full width, whatever COLUMNS says, so that scripts can rely on it.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

from audit.cli.parser import columns, use_color

GAP = 2
SHORT = 12
"""Columns up to this width are not wrapped."""
_GREEN, _YELLOW, _RED = "green", "yellow", "bold red"
STYLES = {
    "sealed": _GREEN, "resumable": _GREEN, "resumable by structure": _GREEN, "retired": _GREEN, "finished": _GREEN,
    "not judged": _YELLOW, "weights only": _YELLOW, "in progress": _YELLOW, "being deleted": _YELLOW,
    "incomplete": _YELLOW, "unknown": _YELLOW, "training": _YELLOW, "stopped": _YELLOW, "interrupted": _YELLOW,
    "rolled back": _YELLOW, "warning": _YELLOW, "sound": _GREEN, "suspect": _YELLOW,
    "broken": _RED, "unreadable": _RED, "failed": _RED, "rejected": _RED, "lost": _RED, "error": _RED,
}  # fmt: skip
"""Colour of a cell that is a state, a verdict or a severity, and nothing else."""
_NUMBER = re.compile(r"[0-9.]+ [A-Za-z]+|-")
"""A size or a duration, which is aligned as a number is."""


def table(heads: Sequence[str] | None, rows: Sequence[Sequence[Any]], drop: Sequence[str] = ()) -> str:
    """Return lines with aligned columns; None is shown as a dash, floats with six digits.

    On a terminal that is too narrow, the columns that ``drop`` names are left out, the first one first, and a last line
    names them; then text is wrapped.
    """
    columns_of = list(zip(*rows, strict=True))
    right = [all(map(_is_number, column)) and any(value is not None for value in column) for column in columns_of]
    cells = list(zip(*(_column(column) for column in columns_of), strict=True))
    lines: list[Sequence[str]] = [list(heads), *cells] if heads else [*cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    if not _terminal():
        return _plain(lines, widths, right)
    width = columns()
    shown = list(range(len(widths)))
    left_out = []
    for name in drop:
        if heads and name in heads and _total([widths[column] for column in shown]) > width:
            shown.remove(list(heads).index(name))
            left_out.append(name)
    text = _drawn(lines, [(column, widths[column], right[column]) for column in shown], bool(heads), width)
    return text + (f"left out at {width} columns: {', '.join(left_out)}\n" if left_out else "")


def wrapped(line: str, indent: int) -> str:
    """Return a line, on a terminal wrapped at its width; lines after the first begin with ``indent`` spaces."""
    if not _terminal() or len(line) <= columns():
        return line + "\n"
    from textwrap import fill

    return fill(line, columns(), subsequent_indent=" " * indent, break_on_hyphens=False) + "\n"


def colored(state: str) -> str:
    """Return a state in its colour, on a terminal."""
    style = STYLES.get(state)
    if style is None or not use_color(sys.stdout):
        return state
    from rich.style import Style

    return Style.parse(style).render(state)


def _terminal() -> bool:
    return bool(getattr(sys.stdout, "isatty", lambda: False)())


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _plain(lines: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]) -> str:
    text = ""
    for line in lines:
        parts = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        ]
        text += (" " * GAP).join(parts).rstrip() + "\n"
    return text


def _drawn(lines: Sequence[Sequence[str]], shown: Sequence[tuple[int, int, bool]], heads: bool, width: int) -> str:
    """Draw with rich, which wraps the long columns as far as the width asks for it."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    for _, natural, numeric in shown:
        fixed = numeric or natural <= SHORT
        grid.add_column(
            justify="right" if numeric else "left", no_wrap=fixed, overflow="fold", min_width=natural if fixed else None
        )
    for number, line in enumerate(lines):
        bold = "bold" if heads and not number else ""
        grid.add_row(*(Text(line[column], bold or STYLES.get(line[column].strip(), "")) for column, _, _ in shown))
    file = StringIO()
    colored = use_color(sys.stdout)
    system = "standard" if colored else None
    console = Console(file=file, width=width, force_terminal=colored, color_system=system, legacy_windows=False)  # type: ignore[arg-type]
    console.print(grid)
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or _NUMBER.fullmatch(str(value)) is not None


def _column(values: Sequence[Any]) -> list[str]:
    """The cells of a column; numbers with a fraction get spaces behind, so that their points are aligned."""
    cells = [_cell(value) for value in values]
    if not any(isinstance(value, float) for value in values) or not all(map(_is_number, values)):
        return cells
    behind = [len(cell.partition(".")[2]) + ("." in cell) if "e" not in cell else None for cell in cells]
    longest = max((part for part in behind if part is not None), default=0)
    return [cell if part is None else cell + " " * (longest - part) for cell, part in zip(cells, behind, strict=True)]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
