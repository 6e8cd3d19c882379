"""Every command that looks at a run, over the runs of every trainer, sound and damaged: an answer or one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.cli.conftest import Ended
from tests.campaign.layouts import LAYOUTS, copied, made

Audit = Callable[..., Ended]

RUN, NEWEST, BEFORE, OUT = "RUN", "NEWEST", "BEFORE", "OUT"
COMMANDS = (
    "best RUN",
    "best RUN --metric loss",
    "diff BEFORE NEWEST",
    "diff BEFORE NEWEST --all --format json",
    "export RUN",
    "export RUN --format csv",
    "export RUN --format csv --table checkpoints",
    "fleet RUN -o OUT/fleet.parquet",
    "guard RUN",
    "guard RUN --exact --processes 3",
    "guard RUN --format json",
    "history RUN --format json",
    "list RUN",
    "list RUN --format json",
    "merge RUN OUT/merged --base RUN",
    "prune RUN --keep 1 --dry-run",
    "prune RUN --keep 1 --keep-best --dry-run",
    "quarantine RUN --dry-run",
    "quarantine RUN --list",
    "report RUN -o OUT/report.html",
    "show NEWEST",
    "show RUN --format json",
    "verify RUN",
    "verify RUN --depth quick --format json",
    "watch RUN",
)


def _damaged(run: Path, name: str) -> None:
    """Cut the largest file of the newest checkpoint."""
    layout = LAYOUTS[name]
    largest = max(layout.files(layout.checkpoints(run)[-1]), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_command_answers_or_refuses_in_one_line(name: str, audit: Audit, tmp_path: Path) -> None:
    sound = made(LAYOUTS[name], tmp_path)
    damaged = copied(sound, tmp_path / "damaged")
    _damaged(damaged, name)
    for run in (sound, damaged):
        before, newest = LAYOUTS[name].checkpoints(run)[-2:]
        names = {RUN: run, NEWEST: newest, BEFORE: before}
        for line in COMMANDS:
            words = [str(names.get(word, word)).replace(OUT, str(tmp_path)) for word in line.split()]
            ended = audit(*words)
            assert ended.code in (0, 1, 2), (line, ended)
            assert "internal error" not in ended.err, (line, ended.err)
            if ended.code == 2 and words[0] not in ("guard", "verify"):
                assert ended.err.count("\n") == 1, (line, ended.err)
            elif words[-1] == "json":
                json.loads(ended.out)
