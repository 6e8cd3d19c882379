"""The documents keep up with the program."""

import argparse
import re
from pathlib import Path

import pytest

from audit.cli import COMMANDS
from audit.cli.options import add_options

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
PRESENT = CONTRACT.partition("## Agreed for later releases")[0]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_contract_names_every_command_and_no_other() -> None:
    rows = PRESENT.partition("## Commands")[2].partition("\n## ")[0]

    assert set(re.findall(r"`audit ([a-z]+)", "".join(re.findall(r"^\| (`audit .*?) \|", rows, re.MULTILINE)))) == set(
        COMMANDS
    )


def test_the_contract_names_every_option_of_verify_and_no_other() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    longest = {action.option_strings[-1] for action in parser._actions}
    rows = re.findall(r"^\| (`-.*?) \| ", PRESENT, re.MULTILINE)
    shorts = {"-q": "--quiet", "-v": "--verbose"}

    assert {shorts.get(name, name) for name in re.findall(r"`(-[-a-z]+)", " ".join(rows))} == longest


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _, fragment = target.partition("#")
        if "://" in target:
            continue
        there = (document.parent / path) if path else document
        headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE) if there.is_file() else []
        if not there.is_file() or (fragment and fragment not in map(anchor, headings)):
            dead.append(target)

    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_output_is_still_to_be_filled_in(document: Path) -> None:
    assert "<!-- output" not in document.read_text(encoding="utf-8")
