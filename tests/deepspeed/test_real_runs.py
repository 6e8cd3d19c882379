"""Runs of the real DeepSpeed, trained, killed and resumed on two ranks: ``tox run -e deepspeed``.

Elsewhere DeepSpeed is not installed, and these are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audit.cli import run as audit
from audit.testing.judging import report
from tests.deepspeed.damages import DAMAGES, tag
from tests.deepspeed.judging import damaged
from tests.deepspeed.page import PAGE, STAGES, Row, page
from tests.deepspeed.starting import CONFIGURATIONS, ENVIRONMENT

pytest.importorskip("deepspeed", reason="the dependency group deepspeed is not installed")

HERE = Path(__file__).parent


def train(run: Path, *arguments: str, ranks: int = 2) -> int:
    """Train, and return the exit code."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*command, str(HERE / "train_one.py"), str(run), *arguments],
        env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    return done.returncode


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs that were killed in a step and resumed, by stage."""
    runs = {stage: tmp_path_factory.mktemp("runs") / f"zero-{stage}" for stage in STAGES}
    for stage, run in runs.items():
        assert train(run, "--stage", str(stage), "--die-at", "13") != 0
        assert train(run, "--stage", str(stage), "--resume") == 0
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_run_that_was_killed_and_resumed_is_sound(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, *CONFIGURATIONS[name], "--die-at", "13") != 0
    assert train(run, *CONFIGURATIONS[name], "--resume") == 0

    found = report(str(run))

    assert found.findings == ()
    assert [item.step for item in found.checkpoints] == [5, 10, 15, 20]
    assert all(item.judged for item in found.checkpoints)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["2", "3"])
def test_three_ranks_whose_last_slice_is_padded(stage: str, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--stage", stage, "--steps", "10", ranks=3) == 0

    assert report(str(tmp_path / "run")).findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("stage", STAGES)
def test_another_number_of_processes_cannot_resume_and_the_guard_says_so(
    killed: dict[int, Path], tmp_path: Path, stage: int, ranks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed[stage], run, ignore=shutil.ignore_patterns(".audit"))
    assert audit(["guard", str(run), "--processes", "2"]) == 0
    assert audit(["guard", str(run), "--processes", str(ranks)]) == 1
    assert "DeepSpeed loads the partitions of ZeRO in as many processes as saved them only" in capsys.readouterr().err

    assert train(run, "--stage", str(stage), "--resume", "--steps", "30", ranks=ranks) != 0
    assert not (run / "checkpoint-25").exists()


@pytest.mark.slow
def test_the_page_says_what_deepspeed_does(
    killed: dict[int, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rows: dict[tuple[int, str], Row] = {}
    for stage in STAGES:
        place = tmp_path / str(stage)
        cases = {
            damage.title: damaged(damage, killed[stage], place / str(number) / "run")
            for number, damage in enumerate(DAMAGES)
            if stage in damage.stages
        }
        sound = killed[stage] / next(iter(cases.values()))[0].name
        assert tag(sound).is_dir()
        paths = [str(sound), *(str(path) for path, _ in cases.values())]
        (place / "asked.json").write_text(json.dumps({"sound": str(sound), "checkpoints": paths}))
        command = [sys.executable, str(HERE / "load_each.py"), str(stage), str(place)]
        subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, timeout=7200, check=True)
        answer = json.loads((place / "answer.json").read_text())
        for title, (path, verdict) in cases.items():
            told = answer[str(path)]
            said = "crashes" if told is None else "the same" if told == answer[str(sound)] else "silent"
            rows[stage, title] = Row(said, *verdict)
    if request.config.getoption("--update-faults"):
        PAGE.write_text(page(rows), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(rows), "run `tox run -e deepspeed -- --update-faults`"
