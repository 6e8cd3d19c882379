"""The tables of docs/compare.md, from what `peers.py` measured."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "compare.md"
BEGIN, END = "<!-- measured: written by benchmarks/peers.py -->\n", "<!-- end of measured -->\n"

COLUMNS = {
    "verify quick": "`verify --depth quick`",
    "verify full": "`verify`",
    "verify sealed": "`verify`, sealed before",
    "trainer": "Trainer raises",
    "torch": "`torch.load`, isfinite",
    "script": "ls and jq",
    "trainproof env": "trainproof env",
    "trainproof epoch": "trainproof epoch",
    "weightlens": "weightlens",
    "picklescan": "picklescan",
    "modelscan": "modelscan",
    "fickling": "fickling",
    "model-signing": "model-signing, signed before",
}
"""Judges, and what the tables call them."""


def _found(row: Mapping[str, Any], judge: str) -> bool:
    return row["trainer"] == "crashes" if judge == "trainer" else bool(row["said"][judge])


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |\n"


def _head(*cells: str) -> str:
    return _line(*cells) + _line(*("---" for _ in cells))


def by_group(damages: Mapping[str, Any]) -> str:
    """How many damages of each group each judge found."""
    text = _head("damage", "kinds", *COLUMNS.values())
    groups = dict.fromkeys(row["group"] for row in damages.values())
    for group in [*groups, None]:
        rows = [row for row in damages.values() if group in (row["group"], None)]
        counts = [sum(_found(row, judge) for row in rows) for judge in COLUMNS]
        text += _line(group or "**all**", len(rows), *(count or "-" for count in counts))
    return text


def by_judge(rows: Mapping[str, Any]) -> str:
    """False alarms, crashes and time of each judge."""
    damages, clean, costs = rows["damages"], rows["clean"], rows.get("costs", {})
    text = _head("judge", "found", "alarms on healthy runs", "crashes, does not end", "processor time")
    for judge, title in COLUMNS.items():
        found = sum(_found(row, judge) for row in damages.values())
        if judge == "trainer":
            text += _line(title, f"{found} of {len(damages)}", "", "", "")
            continue
        alarms = sum(bool(row["said"][judge]) for row in clean.values())
        broken = sum(
            any(alarm[0] == "!" for alarm in row["said"][judge]) for row in (*damages.values(), *clean.values())
        )
        time = f"{costs[judge]:.2f} s" if judge in costs else ""
        text += _line(title, f"{found} of {len(damages)}", f"{alarms} of {len(clean)}", broken or "-", time)
    return text


def of_resumes(damages: Mapping[str, Any]) -> str:
    """What Trainer makes of each damage, beside what the guard does."""
    text = _head(
        "`resume_from_checkpoint=True`",
        "kinds",
        "guard passes over it",
        "guard hands it out",
        "found by `verify`",
    )
    words = {
        "crashes": "raises, does not end or is killed",
        "the same": "goes on and ends as the undamaged run",
        "otherwise": "goes on without an error and ends otherwise",
    }
    for outcome, title in words.items():
        rows = [row for row in damages.values() if row["trainer"] == outcome]
        refused = sum(row["blocks"] and row["right"] for row in rows)
        found = sum(bool(row["said"]["verify full"]) for row in rows)
        text += _line(title, len(rows), refused, len(rows) - refused, found)
    return text


def silent_and_handed_out(damages: Mapping[str, Any]) -> list[str]:
    """Damages after which Trainer ends otherwise and the guard hands out the newest checkpoint."""
    return [title for title, row in damages.items() if row["trainer"] == "otherwise" and not row["blocks"]]


def tables(rows: Mapping[str, Any]) -> str:
    """Everything between the marks."""
    damages = rows["damages"]
    versions = ", ".join(f"{name} {number}" for name, number in sorted(rows.get("versions", {}).items()))
    groups = Counter(row["trainer"] for row in damages.values())
    wrong = sum(not row["right"] for row in damages.values())
    executed = sum(row["executed"] for row in damages.values())
    text = f"\nVersions: {versions}.\n\n"
    if (kinds := rows.get("kinds", len(damages))) > len(damages):
        text += f"So far {len(damages)} of the {kinds} kinds of damage were measured.\n\n"
    text += f"### Found, of {len(damages)} kinds of damage\n\n{by_group(damages)}\n"
    text += f"### Alarms on {len(rows['clean'])} healthy runs, crashes, time\n\n{by_judge(rows)}\n"
    text += f"### Trainer's own resume and the guard\n\n{of_resumes(damages)}\n"
    text += f"The guard handed out another checkpoint than docs/faults.md says in {wrong} of {len(damages)} cases. "
    text += f"Code of a checkpoint was executed in {executed}.\n"
    listed = silent_and_handed_out(damages)
    text += f"\nOf the {groups['otherwise']} that end otherwise, the guard hands out {len(listed)}:\n\n"
    text += "".join(f"* {title}\n" for title in listed)
    return text + "\n"


def put(rows: Mapping[str, Any]) -> None:
    """Write the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{tables(rows)}{END}{rest.partition(END)[2]}", encoding="utf-8")
