"""docs/campaign.md, from what the campaign tried."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.campaign.instances import Judged
from tests.campaign.layouts import LAYOUTS
from tests.campaign.operators import OPERATORS
from tests.pages import replaced

PAGE = Path(__file__).parents[2] / "docs" / "campaign.md"
BEGIN, END = "<!-- campaign: written by the tests -->\n", "<!-- end of campaign -->\n"


class Pair(NamedTuple):
    """Two damages at once: the operators, the verdicts on each and on both, and what did not hold."""

    one: str
    two: str
    first: str
    second: str
    both: str
    problems: Sequence[str]


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def _head(*cells: str) -> str:
    return _line(*cells) + _line(*("---" for _ in cells))


def _counts(rows: Iterable[Judged]) -> list[object]:
    every = list(rows)
    read = [row for row in every if row.read]
    others = [row for row in every if not row.read]
    return [
        len(read),
        *(
            sum(column)
            for column in ([row.quick for row in read], [row.full for row in read], [row.sealed for row in read])
        ),
        len(others) or "",
        sum(row.full for row in others) if others else "",
        sum(row.sealed for row in others) if others else "",
    ]


COLUMNS = ("read by a resume", "quick", "full", "sealed", "other files", "full", "sealed")


def table(singles: Mapping[str, Sequence[Judged]], pairs: Mapping[str, Sequence[Pair]]) -> str:
    """Everything between the marks."""
    every = [row for rows in singles.values() for row in rows]
    both = [pair for found in pairs.values() for pair in found]
    text = f"\n{len(every)} damages one at a time, {len(both)} pairs, {len(LAYOUTS)} layouts.\n"
    text += f"\n## By damage\n\n{_head('damage', *COLUMNS)}"
    for title in OPERATORS:
        text += _line(title, *_counts(row for row in every if row.draw.operator == title))
    text += _line("**all**", *_counts(row for row in every if not OPERATORS[row.draw.operator].harmless))
    text += f"\n## By layout\n\n{_head('layout', *COLUMNS, 'named by one rule')}"
    for name, rows in singles.items():
        harmful = [row for row in rows if not OPERATORS[row.draw.operator].harmless]
        alone = sum(len(row.rules) == 1 for row in harmful)
        found = sum(row.full for row in harmful)
        text += _line(LAYOUTS[name].title, *_counts(harmful), f"{alone} of {found}")
    worse = sum(pair.both == "broken" for pair in both)
    text += (
        f"\n## In pairs\n\nOf {len(both)} pairs, {worse} are broken, {sum(pair.both == 'suspect' for pair in both)} "
    )
    text += f"suspect, {sum(pair.both == 'sound' for pair in both)} not found at full depth without a seal.\n"
    text += "\n## What leaves no trace\n\nDamages that are not always found without a seal, and why:\n\n"
    missed = {row.draw.operator for row in every if not row.full and not OPERATORS[row.draw.operator].harmless}
    for title, kind in OPERATORS.items():
        if title in missed:
            text += textwrap.fill(f"* {title}: {kind.untold}.", 120, subsequent_indent="  ") + "\n"
    return text + "\n"


def current(singles: Mapping[str, Sequence[Judged]], pairs: Mapping[str, Sequence[Pair]]) -> bool:
    """Whether the page holds this."""
    return table(singles, pairs) in PAGE.read_text(encoding="utf-8")


def put(singles: Mapping[str, Sequence[Judged]], pairs: Mapping[str, Sequence[Pair]]) -> None:
    """Write this into the page."""
    PAGE.write_text(replaced(PAGE, BEGIN, END, table(singles, pairs)), encoding="utf-8")
