"""epoch_N beside step_N: the order is that of the updates, and what is handed out is what was trained last."""

import os
import shutil
from pathlib import Path

import pytest

from audit import guard, verify
from audit.errors import AuditError
from audit.judging.decision import Limits
from audit.judging.guard import consult
from tests.accelerate import damage, make_accelerate, settle

STEPS = (100, 200, 300, 400)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The epochs end at steps 200 and 400; a save every 100 steps, but not there again."""
    run = Path(make_accelerate(tmp_path / "run", STEPS))
    (run / "step_200").rename(run / "epoch_0")
    (run / "step_400").rename(run / "epoch_1")
    settle(run)
    for age, name in enumerate(("epoch_1", "step_300", "epoch_0", "step_100")):
        for path in [*(run / name).rglob("*"), run / name]:
            os.utime(path, (1.7e9 - 1000 * age,) * 2)
    return run


def test_the_order_is_that_of_the_updates(run: Path) -> None:
    report = verify(run)

    assert [(item.name, item.step) for item in report.checkpoints] == [
        ("step_100", 100), ("epoch_0", 200), ("step_300", 300), ("epoch_1", 400),
    ]  # fmt: skip
    assert (report.findings, report.resume_from, report.latest_step) == ((), "epoch_1", 400)
    assert guard(run) == run / "epoch_1"
    assert verify(run).checkpoints == verify(run).checkpoints


def test_a_damaged_epoch_is_not_handed_out_and_strict_sees_it(run: Path) -> None:
    damage(run / "epoch_1", "cut", "optimizer.bin")
    for path in (run / "epoch_1").rglob("*"):
        os.utime(path, (1.7e9,) * 2)

    assert [item.name for item in verify(run).checkpoints][-1] == "epoch_1"
    decision = consult(str(run)).decision
    assert (decision.checkpoint, [item.checkpoint for item in decision.skipped]) == ("step_300", ["epoch_1"])
    assert consult(str(run), Limits(strict=True)).decision.refusal is not None


def test_names_of_one_kind_keep_their_order(tmp_path: Path) -> None:
    run = Path(make_accelerate(tmp_path / "run", STEPS))
    for epoch, step in enumerate(STEPS):
        (run / f"step_{step}").rename(run / f"epoch_{epoch}")

    assert [(item.name, item.step) for item in verify(run).checkpoints] == [
        (f"epoch_{epoch}", epoch) for epoch in range(4)
    ]


def test_a_script_that_counts_batches_counts_them_everywhere(tmp_path: Path) -> None:
    """Two batches for each update: step_200 has 100 updates, and so has epoch_0."""
    run = Path(make_accelerate(tmp_path / "run", (100, 150, 200)))
    (run / "step_200").rename(run / "epoch_0")
    (run / "step_150").rename(run / "step_300")
    (run / "step_100").rename(run / "step_200")
    settle(run)

    assert [(item.name, item.step) for item in verify(run).checkpoints] == [
        ("step_200", 200), ("step_300", 300), ("epoch_0", 400),
    ]  # fmt: skip


def test_one_checkpoint_of_them_can_be_named(run: Path) -> None:
    assert [(item.name, item.step) for item in verify(run / "epoch_0").checkpoints] == [("epoch_0", 200)]
    with pytest.raises(AuditError, match="no such checkpoint"):
        verify(run / "epoch_7")


def test_a_run_whose_steps_were_deleted_is_not_behind(run: Path) -> None:
    assert verify(run).findings == ()
    for name in ("step_100", "step_300"):
        shutil.rmtree(run / name)

    report = verify(run)

    assert (report.findings, report.latest_step) == ((), 400)


def test_epochs_alone_that_were_deleted_are_missed(tmp_path: Path) -> None:
    run = Path(make_accelerate(tmp_path / "run", STEPS))
    for epoch, step in enumerate(STEPS):
        (run / f"step_{step}").rename(run / f"epoch_{epoch}")
    settle(run)
    assert verify(run).findings == ()
    shutil.rmtree(run / "epoch_3")

    assert [item.rule for item in verify(run).findings] == ["steps/reset"]
