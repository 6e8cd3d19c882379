"""Verifying in a loop, with a ledger, while a real Trainer saves at every step and keeps two checkpoints."""

import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.judging.guard import consult
from audit.options import Options
from audit.report import Report
from tests.backends.hf_trainer.trained_elsewhere import start

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")


class Watched(NamedTuple):
    """How often was verified and guarded, the distinct wrong findings, and what was handed out that should not be."""

    rounds: int
    wrong: set[str]
    torn: set[str]
    steps: int


def watch(process: "subprocess.Popen[str]", run: Path) -> Watched:
    """Verify and guard in turn until the training has ended."""
    wrong: set[str] = set()
    torn: set[str] = set()
    seen: set[int] = set()
    while not run.is_dir() and process.poll() is None:
        time.sleep(0.01)
    for rounds in itertools.count():
        if process.poll() is not None:
            break
        depth = "quick" if rounds % 4 == 3 else "full"
        options = Options(allow_empty=True, depth=depth)
        if rounds % 2:
            wrong |= complaints(verify(str(run), options))
        else:
            decision, report = consult(str(run), None, options)
            wrong |= complaints(report)
            if decision.checkpoint is not None:
                seen.add(decision.step or 0)
                torn |= torn_in(run / decision.checkpoint)
            # With nothing but saves in progress it refuses: there is progress, and nothing to resume from yet.
            wrong |= {
                f"skipped: {item.reason}"
                for item in decision.skipped
                if not item.reason.startswith(("is being written right now", "is being deleted right now"))
            }
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return Watched(rounds, wrong, torn, len(seen))


def complaints(report: Report) -> set[str]:
    return {
        f"{item.severity.value} {item.rule}: {item.message}"
        for item in report.findings
        if item.severity is not Severity.INFO
    } | {f"crash {item.rule}: {item.reason}" for item in report.crashed}


def torn_in(checkpoint: Path) -> set[str]:
    """Say what is wrong with a checkpoint that was handed out; rotation may have taken it in the meantime."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except FileNotFoundError:
        return set()
    except ValueError as error:
        return {f"{checkpoint}: {error}"}
    return set()


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.slow), "audited"])
def test_a_training_that_saves_is_never_called_broken(tmp_path: Path, kind: str) -> None:
    found = watch(start(kind, tmp_path / "run", 40), tmp_path / "run")

    assert (found.wrong, found.torn) == (set(), set())
    assert found.rounds > 20
    assert verify(str(tmp_path / "run")).verdict == "sound"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "processes", "steps"), [("plain", 1, 1500), ("audited", 1, 400), ("slow", 2, 200)])
def test_hundreds_of_verifications_while_a_training_saves(
    tmp_path: Path, kind: str, processes: int, steps: int
) -> None:
    found = watch(start(kind, tmp_path / "run", steps, processes), tmp_path / "run")

    assert (found.wrong, found.torn) == (set(), set())
    assert found.rounds > 100
    assert found.steps > 20
    assert verify(str(tmp_path / "run")).verdict == "sound"
