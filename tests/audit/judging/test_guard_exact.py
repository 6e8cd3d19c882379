"""``audit guard --exact``: what resumes, but not bit for bit, is passed over."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import guard
from audit.cli import run as command
from audit.errors import AuditError
from audit.judging.decision import Limits, ResumeRefused
from audit.judging.guard import consult
from audit.manager import load
from audit.retention.pins import pin
from audit.testing.runs import make_run
from tests.accelerate import make_accelerate, settle
from tests.dcp import make_apart, make_sharded
from tests.lightning import make_lightning
from tests.zero import write_tag

LOST = ("rng_state_1.pth", "scaler.pt")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Nothing in it is being written: while a save may still go on, a missing file is only not there yet."""
    run = Path(make_run(tmp_path / "run", world=2, fp16=True))
    for path in run.rglob("*"):
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 600 * 10**9))
    return run


@pytest.mark.parametrize("lost", LOST)
def test_without_exactness_the_newest_is_handed_out_with_a_warning(run: Path, lost: str) -> None:
    (run / "checkpoint-300" / lost).unlink()

    guarded = consult(str(run))

    assert guarded.decision.checkpoint == "checkpoint-300"
    assert [item.file for item in guarded.report.findings] == [lost]


@pytest.mark.parametrize("lost", LOST)
def test_with_exactness_the_one_before_is_handed_out(run: Path, lost: str) -> None:
    (run / "checkpoint-300" / lost).unlink()

    guarded = consult(str(run), Limits(exact=True))

    (skipped,) = guarded.decision.skipped
    assert guarded.decision.checkpoint == "checkpoint-200"
    assert skipped.checkpoint == "checkpoint-300"
    assert lost in skipped.reason
    assert guarded.report.resume_from == "checkpoint-200"


def test_a_run_that_lacks_nothing_is_handed_out_exactly(run: Path) -> None:
    assert guard(run, exact=True) == run / "checkpoint-300"


def test_where_no_checkpoint_is_exact_it_refuses(run: Path) -> None:
    for step in (100, 200, 300):
        (run / f"checkpoint-{step}" / "rng_state_0.pth").unlink()

    with pytest.raises(ResumeRefused):
        guard(run, exact=True)


def test_a_pinned_checkpoint_is_held_to_it_too(run: Path) -> None:
    (run / "checkpoint-300" / "rng_state_1.pth").unlink()
    pin(str(run), "checkpoint-300")
    shutil.rmtree(run / "checkpoint-300")

    assert guard(run) == run / ".audit" / "pinned" / "checkpoint-300"
    assert guard(run, exact=True) == run / "checkpoint-200"


def test_the_command_has_it(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoint-300" / "rng_state_1.pth").unlink()

    code = command(["guard", str(run), "--exact"])

    out, err = capfd.readouterr()
    assert (code, out) == (0, f"{run}/checkpoint-200\n")
    assert "skipped checkpoint-300: rng_state_1.pth is not there" in err


def test_it_is_said_of_a_rule_how_it_blocks() -> None:
    rules = load()

    assert rules.rule("files/missing-optimizer").blocks == "blocks resuming"
    assert rules.rule("files/missing-rng-state").blocks == "blocks resuming with --exact"
    assert rules.rule("files/leftover").blocks == ""


def engine(run: Path) -> None:
    run.mkdir()
    for step in (100, 200):
        write_tag(run, step, stage=2)
    (run / "latest").write_text("global_step200")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_lightning, "Lightning saves no random states and no place in the data"),
        (make_apart, "a state of torch.distributed.checkpoint does not say whether it has all"),
        (engine, "DeepSpeed saves no random states and no place in the data"),
        (make_accelerate, "accelerate does not save how far an epoch has come, nor its order"),
    ],
    ids=["lightning", "dcp", "deepspeed", "accelerate"],
)
def test_a_trainer_that_saves_no_random_states_or_no_place_is_never_exact(
    make: Callable[[Path], object], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    make(run)
    settle(run)
    for _ in range(2):  # the second answer is from memory
        handed = guard(run)
        assert handed is not None
        with pytest.raises(AuditError, match=f"{why}.*, so --exact hands out nothing; without it .* {handed.name}"):
            guard(run, exact=True)
    capfd.readouterr()
    assert command(["guard", str(run), "--exact"]) == 2
    assert capfd.readouterr().out == ""


def after_epochs(run: Path) -> None:
    make_accelerate(run, name="epoch_{}")


@pytest.mark.parametrize("make", [after_epochs, make_sharded], ids=["accelerate", "fsdp"])
def test_one_that_does_is_handed_out_exactly(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "run")
    settle(tmp_path / "run")
    assert guard(tmp_path / "run", exact=True) == guard(tmp_path / "run")


def test_a_stateful_loader_goes_another_way_from_the_end_of_an_epoch_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    after_epochs(run)
    for step in (100, 200, 300):
        shutil.copy(run / f"epoch_{step}" / "scheduler.bin", run / f"epoch_{step}" / "dl_state_dict_1.bin")
    settle(run)

    assert guard(run) == run / "epoch_300"
    with pytest.raises(AuditError, match=r"dl_state_dict_1\.bin does not say which order the next epoch has"):
        guard(run, exact=True)


def test_an_empty_run_is_a_fresh_start_with_exactness_too(tmp_path: Path) -> None:
    assert guard(tmp_path, exact=True) is None


def test_a_pin_is_all_that_is_left_of_a_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(str(run), "checkpoint-300")
    for place in run.glob("checkpoint-*"):
        shutil.rmtree(place)
    pinned = run / ".audit" / "pinned" / "checkpoint-300"
    assert guard(run, exact=True) == guard(run) == pinned

    monkeypatch.setattr(type(load().backend("hf-trainer")), "inexact", "it saves no random states", raising=False)
    assert guard(run) == pinned
    with pytest.raises(ResumeRefused):
        guard(run, exact=True)
