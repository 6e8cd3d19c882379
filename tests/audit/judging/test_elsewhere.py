"""Judging a run whose files have versions and no times of the trainer."""

import os
import shutil
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.judging.verification import verify_report
from audit.manager import Registry
from audit.options import Options
from audit.testing.runs import make_run
from tests.audit.elsewhere import registry


@pytest.fixture(scope="module")
def plugins() -> Registry:
    return registry()


def options(tmp_path: Path, **changes: object) -> Options:
    return Options(ledger_dir=str(tmp_path / "ledgers"), jobs=1)._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["test", "timeless"])
def test_a_step_that_was_saved_again_is_not_called_a_broken_seal(
    tmp_path: Path, plugins: Registry, scheme: str
) -> None:
    run = Path(make_run(tmp_path / "run", (10, 20)))
    url = f"{scheme}:/{run}"
    assert all(item.sealed for item in verify_report(url, options(tmp_path), registry=plugins).checkpoints)

    shutil.rmtree(run)
    make_run(run, (10, 20), seed=1, learning_rate=2e-4)
    for file in run.rglob("*"):
        os.utime(file, (4e9, 4e9))

    assert "integrity/seal-broken" not in {
        item.rule for item in verify_report(url, options(tmp_path), registry=plugins).findings
    }


@pytest.mark.parametrize("scheme", ["test", "timeless"])
def test_one_file_that_changed_is_a_broken_seal(tmp_path: Path, plugins: Registry, scheme: str) -> None:
    run = Path(make_run(tmp_path / "run", (5, 10)))
    url = f"{scheme}:/{run}"
    verify_report(url, options(tmp_path), registry=plugins)
    weights = run / "checkpoint-10" / "adapter_model.safetensors"
    times = os.stat(weights)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x3d")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))

    found = verify_report(url, options(tmp_path), registry=plugins)

    assert [(item.rule, item.file) for item in found.findings] == [("integrity/seal-broken", weights.name)]


def test_two_histories_without_times_are_not_told_apart(tmp_path: Path, plugins: Registry) -> None:
    run = Path(make_run(tmp_path / "run", (5, 10)))
    for step in (15, 20):
        shutil.copytree(
            Path(make_run(tmp_path / f"other-{step}", (5, 10, 15, 20), seed=7, learning_rate=3e-4))
            / f"checkpoint-{step}",
            run / f"checkpoint-{step}",
        )
    for file in (run / "checkpoint-20").rglob("*"):
        os.utime(file, (4e9, 4e9))

    here = consult(str(run), options=Options(ledger=False), registry=plugins).decision
    there = consult(f"test:/{run}", options=options(tmp_path), registry=plugins).decision

    assert here.checkpoint == "checkpoint-20"
    assert "nothing says which is the newest" in (there.refusal or "")
    named = consult(f"test:/{run}", Limits(lineage="checkpoint-10"), options(tmp_path), registry=plugins).decision
    assert named.checkpoint == "checkpoint-10"


def test_an_unknown_scheme_is_said(plugins: Registry) -> None:
    with pytest.raises(AuditError, match=r"no storage is known for tset://.*did you mean 'test'"):
        verify_report("tset://x/run", registry=plugins)
