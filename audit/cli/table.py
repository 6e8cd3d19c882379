"""Plain columns for the terminal: numbers to the right, text to the left."""

from collections.abc import Sequence
from typing import Any

from audit.text import escaped


def table(heads: Sequence[str] | None, rows: Sequence[Sequence[Any]]) -> str:
    """Return lines with aligned columns; None is shown as a dash, floats with six digits."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [
        all(row[column] is None or isinstance(row[column], int | float) for row in rows)
        for column in range(len(rows[0]))
    ]
    lines = [list(heads), *cells] if heads else cells
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ""
    for line in lines:
        parts = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        ]
        text += "  ".join(parts).rstrip() + "\n"
    return text


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return escaped(str(value))
