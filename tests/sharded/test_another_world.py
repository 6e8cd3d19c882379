"""What the guard and the plan say of another number of processes, held against a resume with so many.

The other answer, of DeepSpeed's ZeRO, is in tests/deepspeed/test_real_runs.py.
"""

import shutil
from pathlib import Path

import pytest

from audit.api import verify
from audit.cli import run as audit
from audit.facts.run import open_run
from audit.manager import load
from audit.options import Options

PLAN = """
run = "run"
backend = "command"
[data]
inbox = "inbox"
[command]
argv = ["true", "--max_steps", "{last_step}"]
resume_argv = ["{resume_from}"]
examples_per_step = 4
[arguments]
max_steps = "{last_step}"
ignore_data_skip = true
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that two processes trained up to step 6 and saved in shards."""
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    from tests.backends.hf_trainer.distributed_runs import launch

    run = tmp_path_factory.mktemp("saved") / "run"
    launch("fsdp_sharded", str(run), 6)
    return run


def planned(home: Path, processes: int) -> int:
    """The exit code of ``audit plan`` for so many processes."""
    (home / "inbox").mkdir(exist_ok=True)
    (home / "inbox" / "a.jsonl").write_text("".join(f'{{"text": "{row}"}}\n' for row in range(12)))
    (home / "train.toml").write_text(PLAN)
    return audit(["plan", str(home / "train.toml"), "--processes", str(processes), "--adopt"])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_a_sharded_state_is_resumed_by_any_number(
    saved: Path, tmp_path: Path, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.backends.hf_trainer.distributed_runs import launch

    run = tmp_path / "run"
    shutil.copytree(saved, run, ignore=shutil.ignore_patterns(".audit"))
    assert audit(["guard", str(run), "--processes", str(processes)]) == 0
    assert "the sharded state is divided anew" in capsys.readouterr().err
    assert planned(tmp_path, processes) == 0

    launch("fsdp_sharded", str(run), processes=processes)

    newest = open_run(str(run), load().backends).checkpoints[-1]
    assert (newest.step, newest.updates) == (9, 9)  # it went on, and did not begin anew
    report = verify(str(run), Options(settle_seconds=0))
    assert [item.rule for item in report.findings if item.severity.value == "error"] == []
    assert report.resume_from == "checkpoint-9"
