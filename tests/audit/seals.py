"""What tests of seals do to sealed runs."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from audit.api import verify
from audit.ledger.store import open_ledger
from audit.options import Options
from audit.report import Report

WEIGHTS = "adapter_model.safetensors"


def verified(run: str, **options: Any) -> Report:
    return verify(run, Options(**{"settle_seconds": 0, **options}))


def sealed(report: Report) -> list[int]:
    return [item.step for item in report.checkpoints if item.sealed]


def broken_seals(report: Report) -> list[tuple[str | None, str | None]]:
    return [(item.checkpoint, item.file) for item in report.findings if item.rule == "integrity/seal-broken"]


def flip(path: str | Path, keep_times: bool = True) -> None:
    """Change one bit of a weight, which stays a sound number; the times are put back, as rot on a disk leaves them."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rows(run: str, kind: str) -> list[dict[str, Any]]:
    """Contents of the ledger's rows of one kind."""
    ledger = open_ledger(run, write=False)
    if ledger is None:
        return []
    try:
        return [dict(row.content) for row in ledger.rows() if row.kind == kind]
    finally:
        ledger.close()


def execute(run: str, statement: str, *values: object) -> None:
    """Change the ledger's file behind its back."""
    connection = sqlite3.connect(Path(run, ".audit", "ledger.db"))
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def save_anew(run: str, step: int, seed: int, later: float = 10.0) -> None:
    """Let the trainer write a step again, with another history, ``later`` seconds after what is there."""
    import shutil

    from audit.testing.runs import make_run

    other = make_run(f"{run}-other", seed=seed)
    home = f"{run}/checkpoint-{step}"
    newest = max(entry.stat().st_mtime_ns for entry in os.scandir(home))
    shutil.rmtree(home)
    shutil.move(f"{other}/checkpoint-{step}", home)
    shutil.rmtree(other)
    for entry in os.scandir(home):
        os.utime(entry, ns=(newest + int(later * 1e9),) * 2)
