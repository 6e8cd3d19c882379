"""What the audit says of a damaged checkpoint."""

import shutil
from pathlib import Path
from typing import NamedTuple

from audit.testing.judging import report
from tests.deepspeed.damages import Damage


class Verdict(NamedTuple):
    """The rules that found something in the damaged checkpoint, and whether the guard refuses it."""

    rules: tuple[str, ...]
    refused: bool


def damaged(damage: Damage, run: Path, place: Path) -> tuple[Path, Verdict]:
    """Copy the two newest checkpoints of a run to ``place``, damage the newer one and judge it; nothing else is said.

    Returns the path of the damaged checkpoint.
    """
    older, newest = sorted(run.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))[-2:]
    for checkpoint in (older, newest):
        shutil.copytree(checkpoint, place / checkpoint.name)
    damage.change(place / newest.name, place / older.name)
    found = report(str(place))
    assert {item.checkpoint for item in found.findings} <= {newest.name}
    (summary,) = [item for item in found.checkpoints if item.name == newest.name]
    # That a file could not be read is said beside the finding about the file.
    rules = {item.rule for item in found.findings} - {"files/not-judged"}
    return place / newest.name, Verdict(tuple(sorted(rules)), not summary.resumable)
