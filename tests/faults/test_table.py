"""The table of faults in the documentation is the one that the tests prove.

``pytest tests/faults --update-faults`` writes it anew.
"""

from pathlib import Path

import pytest

from tests.faults.all_faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

HEAD = """\
# Kinds of damage, and the rule that names each

Written by the tests (`tox run -e tests -- tests/faults --update-faults`). Each row is a test: a run that Hugging Face
Trainer really trained is copied, damaged in this one way and verified. This rule must find it, and no other rule may
report anything. `blocks`: the guard does not hand out the checkpoint. `full`: found at `--depth full` only, because the
structure of the files is sound.
"""


def page() -> str:
    """The page as it should be."""
    text = HEAD
    for title in dict.fromkeys(fault.group for fault in FAULTS.values()):
        text += f"\n## {title}\n\n| damage | rule | severity | resume | depth |\n| --- | --- | --- | --- | --- |\n"
        for fault in (fault for fault in FAULTS.values() if fault.group == title):
            blocks = "blocks" if fault.blocks else ""
            depth = "full" if fault.depth == "full" else ""
            text += f"| {fault.title} | {linked(fault.rule)} | {fault.severity} | {blocks} | {depth} |\n"
    return f"{text}\n{len(FAULTS)} kinds of damage.\n"


def linked(rule: str) -> str:
    """A rule's id, as a link to its section."""
    family, _, name = rule.partition("/")
    return f"[{rule}](rules/{family}.md#{name})"


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-faults"):
        PAGE.write_text(page(), encoding="utf-8")

    assert PAGE.read_text(encoding="utf-8") == page(), "run `tox run -e tests -- tests/faults --update-faults`"
