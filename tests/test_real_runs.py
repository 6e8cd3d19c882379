"""Real public runs that others trained: no crash, and no finding on what the framework itself does.

They lie beside the project, in ``shared/real-runs`` next to the checkout or where AUDIT_REAL_RUNS says; where they are
not, these tests are skipped. Files above a few megabytes were not kept, so a missing one says nothing.
"""

import os
from pathlib import Path

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.options import Options

HOME = Path(os.environ.get("AUDIT_REAL_RUNS", Path(__file__).parents[2] / "shared" / "real-runs"))
RUNS = sorted({path.parent for path in HOME.rglob("checkpoint-*") if path.is_dir()}) if HOME.is_dir() else []

NOT_KEPT = {
    "files/missing-weights",
    "files/missing-optimizer",
    "files/missing-scheduler",
    "files/missing-rng-state",
    "files/weights-only",
    "files/placeholder",
}
"""What files that were not kept, or not committed, look like."""

GENUINE = {
    "SeanGormann__llm_recovery": {"history/forked"},
    "SecurityLab-UCD__UniTSyn": {"history/forked"},
    "cracrazjf__xAyBz": {"history/forked"},
    "laminair__mess-plus": {"history/forked"},
    "yongshuaiy__LLMs-final": {"history/forked"},
    # A finished run resumed with a longer schedule: the rate rises from 0, in one of them the loss from 1.4 to 12.
    "David-Barnes-Data-Imaginations__cookbook-beancount-llm": {"learning-rate/rose-again"},
    "TANGHULU6__Llama3-8B-Mob": {"learning-rate/rose-again", "loss/level-rose"},
}
"""What was looked at by hand and is wrong in these runs: several runs in one directory, a schedule that moved."""

pytestmark = pytest.mark.skipif(not RUNS, reason="the real runs are not here")


@pytest.mark.parametrize("run", RUNS, ids=lambda path: str(path.relative_to(HOME)))
def test_a_real_run_has_no_finding_but_the_genuine_ones(run: Path) -> None:
    for depth in ("quick", "full"):
        report = verify(str(run), Options(depth=depth, ledger=False))

        assert report.crashed == ()
        serious = {item.rule for item in report.findings if item.severity is not Severity.INFO}
        assert serious - NOT_KEPT <= GENUINE.get(run.relative_to(HOME).parts[0], set())


def test_the_faults_that_are_known_are_found() -> None:
    found: dict[str, set[str]] = {}
    for run in RUNS:
        rules = {item.rule for item in verify(str(run), Options(depth="quick", ledger=False)).findings}
        found.setdefault(run.relative_to(HOME).parts[0], set()).update(rules)

    assert {name: rules for name, rules in GENUINE.items() if not rules <= found.get(name, set())} == {}
