"""The tables of docs/sharded.md, between two marks of each."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.faults.test_table import linked
from tests.pages import replaced

PAGE = Path(__file__).parents[2] / "docs" / "sharded.md"
BEGIN, END = "<!-- damages of dcp: written by the tests -->\n", "<!-- end of damages of dcp -->\n"


class Row(NamedTuple):
    """One damage: what torch's loader does, the rules that find it, whether the guard refuses it; why not, if not."""

    title: str
    group: str
    loader: str
    rules: tuple[str, ...]
    refused: bool
    untold: str


def table(rows: Iterable[Row]) -> str:
    """The tables, and what leaves no trace."""
    every = list(rows)
    text = ""
    for group in dict.fromkeys(row.group for row in every):
        text += f"\n### {group}\n\n| damage | torch's loader | found by | guard |\n| --- | --- | --- | --- |\n"
        for row in (row for row in every if row.group == group):
            rules = ", ".join(linked(rule) for rule in row.rules)
            text += f"| {row.title} | {row.loader} | {rules} | {'refuses' if row.refused else 'hands out'} |\n"
    refused = sum(row.refused for row in every)
    harmful = sum(row.loader != "same" for row in every)
    text += f"\n{len(every)} kinds of damage; {harmful} do harm, {refused} of them are refused.\n"
    untold = [row for row in every if row.untold]
    text += "\nNot refused:\n\n"
    for row in untold:
        text += textwrap.fill(f"* {row.title} ({row.loader}): {row.untold}.", 120, subsequent_indent="  ") + "\n"
    return text + "\n"


def current(rows: Iterable[Row]) -> bool:
    """Whether the page holds these rows."""
    return table(rows) in PAGE.read_text(encoding="utf-8")


def put(rows: Iterable[Row]) -> None:
    """Write the rows into the page."""
    PAGE.write_text(replaced(PAGE, BEGIN, END, table(rows)), encoding="utf-8")
