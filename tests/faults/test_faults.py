"""Every kind of damage to a real run is found, named by the right rule, once; nothing of the run is executed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.judging.guard import consult
from audit.manager import Registry, load
from audit.options import Options
from audit.report import Report
from tests.faults import attacks
from tests.faults.all_faults import FAULTS
from tests.faults.table import Fault

DEPTHS = {"quick": ("quick", "full"), "full": ("full",), "only quick": ("quick",)}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


@pytest.fixture
def broken(fault: Fault, clean_run: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the fault's base run with the damage done."""
    run = str(tmp_path / "current_model")
    shutil.copytree(clean_run(fault.base), run, ignore=shutil.ignore_patterns(".audit"))
    # The base was trained moments ago: which of two histories is younger is not told by less than a second.
    for place in Path(run).rglob("*"):
        times = place.stat()
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns - 3600 * 10**9))
    fault.damage(run)
    monkeypatch.chdir(tmp_path)
    return run


def judged(run: str, registry: Registry, depth: str) -> Report:
    # The base was trained moments ago: without this a cut save would still count as going on.
    return verify(run, Options(depth=depth, settle_seconds=0), registry=registry)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_damage_is_named_by_its_rule_and_by_no_other(fault: Fault, broken: str, registry: Registry) -> None:
    for depth in DEPTHS[fault.depth]:
        report = judged(broken, registry, depth)

        serious = [finding for finding in report.findings if finding.severity is not Severity.INFO]
        expected = [] if fault.severity == "info" else [(fault.rule, fault.checkpoint)]
        assert [(finding.rule, finding.checkpoint) for finding in serious] == expected, depth
        found = next(finding for finding in report.findings if finding.rule == fault.rule)
        assert found.severity.value == fault.severity
        assert report.resume_from == fault.resume
        assert not report.crashed
        assert not os.path.exists(attacks.MARK), "the checkpoint's code was executed"
    guarded = consult(broken, options=Options(settle_seconds=0), registry=registry).decision
    assert guarded.checkpoint == fault.resume, "the guard hands out another one"
    assert (guarded.refusal is None) == (fault.resume is not None)
    assert not guarded.fresh


def test_there_are_at_least_eighty_kinds_of_damage() -> None:
    assert len(FAULTS) >= 80
