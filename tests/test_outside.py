"""The package from outside: what a project that imports it is told by its type checker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import audit

SOUND = """
from pathlib import Path

import audit
from audit import AuditError, Finding, Options, Report, ResumeRefused, Severity


def worst(report: Report) -> list[str]:
    found: tuple[Finding, ...] = report.findings
    return [f"{item.rule}: {item.message}" for item in found if item.severity is Severity.ERROR and item.blocks_resume]


def resume(run: Path) -> Path | None:
    try:
        return audit.guard(run, strict=True)
    except ResumeRefused as refused:
        print(refused.report.verdict, refused.decision.refusal, worst(refused.report))
        raise
    except AuditError:
        return None


def main() -> int:
    report = audit.verify(Path("current_model"), Options(depth="quick", ignore=("security",)))
    newest: int | None = report.latest_step
    for checkpoint in report.checkpoints:
        print(checkpoint.name, checkpoint.bytes + 1, checkpoint.resumable)
    return report.count(Severity.ERROR) + (newest or 0) + len(worst(audit.verify("current_model")))
"""

WRONG = {
    "audit.verfy('run')": "has no attribute",
    "audit.verify(3)": "arg-type",
    "audit.verify('run').verdikt": "has no attribute",
    "audit.guard('run').name": "union-attr",
    "audit.guard('run', strikt=True)": "call-arg",
    "audit.Options(depth=1)": "arg-type",
    "len(audit.verify('run').checkpoints[0].bytes)": "arg-type",
}


def mypy(directory: Path) -> str:
    """Check a project in a directory of its own, where nothing of this one is but what is installed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", "--strict", "--cache-dir", str(directory / ".cache"), "."],
        cwd=directory, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")},
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_project_that_uses_the_package_is_checked_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "consumer.py").write_text(SOUND)
    (tmp_path / "wrong.py").write_text("import audit\n" + "\n".join(WRONG) + "\n")
    printed = mypy(tmp_path)
    lines = [line for line in printed.splitlines() if ": error: " in line]

    assert [line for line in lines if not line.startswith("wrong.py:")] == [], printed
    told = {int(line.split(":")[1]): line for line in lines}
    assert sorted(told) == list(range(2, 2 + len(WRONG))), printed
    for number, (code, reason) in enumerate(WRONG.items(), 2):
        assert reason in told[number], code


def test_every_public_name_is_there_and_no_other_is() -> None:
    assert all(getattr(audit, name) is not None for name in audit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'verfy'"):
        audit.verfy  # type: ignore[attr-defined]  # noqa: B018
