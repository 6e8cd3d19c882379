"""Pages of documentation: what the tests write into one between two marks, and the commands that it shows."""

import re
from pathlib import Path


def replaced(page: Path, begin: str, end: str, text: str) -> str:
    """Return the page with ``text`` between its marks."""
    whole = page.read_text(encoding="utf-8")
    before, _, rest = whole.partition(begin)
    return f"{before}{begin}{text}{end}{rest.partition(end)[2]}"


def commands_in(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page's console blocks, each with what it prints."""
    return [
        (command, printed)
        for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]
