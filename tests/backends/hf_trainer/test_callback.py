"""The callback in real trainings: at each save, at the beginning, at the end."""

import logging
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import audit
from audit.cli import run as run_audit
from audit.errors import AuditError
from audit.judging.decision import ResumeRefused

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

import torch
import transformers

from audit_hf_trainer import AuditCallback, CheckpointViolation
from audit_hf_trainer.callback import _has_state
from tests.backends.hf_trainer.fitting import fit, lora, rows

EVERY_STEP = {"save_steps": 1, "max_steps": 5, "lr_scheduler_type": "constant"}


class At(transformers.TrainerCallback):
    """Calls a function with the model at the end of a step, before it is saved."""

    def __init__(self, step: int, act: Callable[[Any], None]) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **unused: Any) -> None:
        if state.global_step == self.step:
            self.act(model)


class Ended(transformers.TrainerCallback):
    """Ends a training after a step, before its schedule is over."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        control.should_training_stop = state.global_step == self.step


def poison(model: Any) -> None:
    """Turn the adapter into NaN, as an overflow does; the loss of every later step is NaN."""
    for name, values in model.named_parameters():
        if "lora_B" in name:
            values.data.fill_(math.nan)


def train(run: Path, *callbacks: Any, **arguments: Any) -> Any:
    return fit(str(run), lora(), callbacks=callbacks, **{**EVERY_STEP, **arguments})


def names(run: Path) -> list[str]:
    return sorted(place.name for place in run.glob("checkpoint-*"))


def pinned(run: Path) -> list[str]:
    return sorted(os.listdir(run / ".audit" / "pinned"))


def said(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [item.getMessage() for item in caplog.records if item.name == "audit" and item.levelno >= level]


# -- each save --------------------------------------------------------------------------------------------------------


def test_every_checkpoint_of_a_sound_training_is_sealed_and_the_newest_is_pinned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "audit")
    train(tmp_path, AuditCallback(), save_total_limit=2)

    assert said(caplog) == []
    assert [line.partition(" in ")[0] for line in said(caplog, logging.INFO)] == [
        f"{tmp_path}/checkpoint-{step}: verified, sealed" for step in range(1, 6)
    ]
    assert pinned(tmp_path) == ["checkpoint-5"]
    assert all(item.sealed for item in audit.verify(str(tmp_path)).checkpoints)


def test_a_pin_is_no_second_copy(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(), max_steps=1)
    path = tmp_path / ".audit" / "pinned" / "checkpoint-1" / "optimizer.pt"

    assert path.samefile(tmp_path / "checkpoint-1" / "optimizer.pt")


def test_the_directories_of_checkpoints_keep_their_times(tmp_path: Path) -> None:
    times: list[tuple[int, int]] = []

    class After(transformers.TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
            times.append((state.global_step, (tmp_path / f"checkpoint-{state.global_step}").stat().st_mtime_ns))

    train(tmp_path, After(), AuditCallback(), After())

    assert len(times) == 10
    assert len(set(times)) == 5


@pytest.mark.parametrize("limit", [1, 2])
def test_a_run_that_saves_nan_does_not_rotate_its_last_good_state_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    train(tmp_path, At(3, poison), AuditCallback(on_violation="warn"), save_total_limit=limit)

    assert names(tmp_path) == [f"checkpoint-{step}" for step in range(6 - limit, 6)]
    assert any("checkpoint-3" in line and "(weights/not-finite)" in line for line in said(caplog, logging.ERROR))
    good = audit.guard(tmp_path)
    assert good == tmp_path / ".audit" / "pinned" / "checkpoint-2"

    caplog.clear()
    again = train(tmp_path, AuditCallback(), resume=str(good), save_total_limit=limit)

    assert again.state.global_step == 5
    assert [entry["step"] for entry in again.state.log_history if "loss" in entry] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(entry["loss"]) for entry in again.state.log_history if "loss" in entry)
    assert said(caplog, logging.ERROR) == []
    assert audit.guard(tmp_path) == tmp_path / "checkpoint-5"


def test_with_stop_training_ends_at_the_first_broken_save_and_does_not_look_successful(tmp_path: Path) -> None:
    with pytest.raises(CheckpointViolation, match=r"stopped at step 3: .*checkpoint-3.*\(weights/not-finite\).*guard"):
        train(tmp_path, At(3, poison), AuditCallback())

    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    assert audit.guard(tmp_path) == tmp_path / "checkpoint-2"


def test_a_hollow_checkpoint_is_reported_at_the_first_save(tmp_path: Path) -> None:
    def hollow(model: Any) -> None:
        for _, values in model.named_parameters():
            if values.requires_grad:
                values.data.zero_()

    with pytest.raises(CheckpointViolation, match=r"checkpoint-1.*weights/"):
        train(tmp_path, At(1, hollow), AuditCallback())


def test_an_older_checkpoint_that_is_broken_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, AuditCallback(), max_steps=2)
    train(tmp_path, At(3, lambda _: (tmp_path / "checkpoint-1/optimizer.pt").unlink()), AuditCallback(), resume=True)

    assert [line for line in said(caplog) if "checkpoint-1" in line and "optimizer.pt" in line][1:] == []
    assert names(tmp_path)[-1] == "checkpoint-5"


def test_without_pin_nothing_is_pinned(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(pin=False), max_steps=1)

    assert not (tmp_path / ".audit" / "pinned").exists()


def test_at_quick_depth_nothing_is_proven_and_so_nothing_pinned(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(depth="quick"), max_steps=1)

    assert not (tmp_path / ".audit" / "pinned").exists()


@pytest.mark.parametrize("error", [AuditError("the disk is gone"), RuntimeError("a bug")])
def test_an_audit_that_fails_does_not_kill_a_training_that_only_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("audit_hf_trainer.watch.verify", fail)
    monkeypatch.setattr("audit_hf_trainer.watch.consult_guard", fail)
    trainer = train(tmp_path, AuditCallback(on_violation="warn"), max_steps=2)

    assert trainer.state.global_step == 2
    assert [str(error) in line for line in said(caplog, logging.ERROR)] == [True] * 3  # the beginning and two saves


def test_an_audit_that_fails_stops_a_training_that_asked_for_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise AuditError("the disk is gone")

    monkeypatch.setattr("audit_hf_trainer.watch.verify", fail)

    with pytest.raises(CheckpointViolation, match="checkpoint-1 could not be verified or pinned: the disk is gone"):
        train(tmp_path, AuditCallback(), max_steps=2)


# -- the beginning ----------------------------------------------------------------------------------------------------


def test_a_training_that_would_start_over_is_refused_before_its_first_step(tmp_path: Path) -> None:
    train(tmp_path, max_steps=2)
    before = audit.verify(str(tmp_path)).resume_from
    steps: list[int] = []

    class Steps(transformers.TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
            steps.append(state.global_step)

    with pytest.raises(ResumeRefused) as refused:
        train(tmp_path, Steps(), AuditCallback())

    assert steps == []
    for part in ("would start at step 0", "checkpoint-2", "resume_from_checkpoint=", "output_dir", 'fresh="allow"'):
        assert part in str(refused.value)
    assert refused.value.report.resume_from == before == "checkpoint-2"


def test_a_training_that_would_start_over_beside_broken_checkpoints_only_is_refused(tmp_path: Path) -> None:
    train(tmp_path, max_steps=1)
    (tmp_path / "checkpoint-1" / "optimizer.pt").unlink()

    with pytest.raises(ResumeRefused, match=r"step 0, but no checkpoint can be resumed from"):
        train(tmp_path, AuditCallback())


def test_starting_over_can_be_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, AuditCallback(), max_steps=4)
    shutil.rmtree(tmp_path / "checkpoint-4")
    trainer = train(tmp_path, AuditCallback(fresh="allow"), max_steps=3, learning_rate=2e-2)

    assert trainer.state.global_step == 3
    assert said(caplog, logging.ERROR) == []


def test_a_training_that_resumes_is_let_through(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, AuditCallback(), max_steps=2)
    train(tmp_path, AuditCallback(), resume=True)

    assert said(caplog) == []


def test_what_a_resume_draws_anew_is_told_as_it_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    by_length = {"train_sampling_strategy": "group_by_length", "max_steps": 9}
    train(tmp_path, AuditCallback(), Ended(8), **by_length)
    assert said(caplog) == []
    train(tmp_path, AuditCallback(), resume=True, **by_length)

    (line,) = said(caplog)
    assert "training goes on from step 8: A resume within this epoch would draw its order anew" in line


def test_going_back_behind_what_was_deleted_by_hand_is_no_violation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, AuditCallback(pin=False), max_steps=4)
    for step in (3, 4):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    train(tmp_path, AuditCallback(), resume=True, max_steps=3)

    assert said(caplog, logging.ERROR) == []
    assert audit.verify(str(tmp_path)).verdict == "sound"


def test_resuming_from_an_older_checkpoint_than_the_newest_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, max_steps=3)
    train(tmp_path, AuditCallback(), resume=str(tmp_path / "checkpoint-2"), max_steps=4)

    assert "training resumes at step 2, but checkpoint-3 could be resumed from" in said(caplog)[0]
    assert said(caplog, logging.ERROR) == []


def test_going_on_from_a_checkpoint_that_is_not_resumable_is_refused_before_the_first_step(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(pin=False), max_steps=3)
    (tmp_path / "checkpoint-3" / "rng_state.pth").unlink()

    with pytest.raises(ResumeRefused) as refused:
        train(tmp_path, AuditCallback(pin=False), resume=str(tmp_path / "checkpoint-3"))

    for part in ("goes on from step 3", "checkpoint-3 is not resumable: ", "rng_state.pth", '="warn"'):
        assert part in str(refused.value)
    assert not (tmp_path / "checkpoint-4").exists()


def test_the_refusal_names_what_can_be_resumed_from(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(pin=False), max_steps=3)
    (tmp_path / "checkpoint-3" / "optimizer.pt").unlink()

    with pytest.raises(
        ResumeRefused, match=r"\(files/missing-optimizer\); resume from .*checkpoint-2 \(step 2\); if step 3 was read"
    ):
        train(tmp_path, AuditCallback(pin=False), resume=True)


def test_what_was_read_from_elsewhere_goes_on_once_the_broken_one_is_moved_as_the_refusal_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    train(elsewhere, max_steps=3, save_steps=3)
    shutil.copytree(elsewhere, here)
    (here / "checkpoint-3" / "optimizer.pt").unlink()

    with pytest.raises(ResumeRefused, match="no other checkpoint can be resumed from; if step 3") as refused:
        train(here, AuditCallback(), resume=str(elsewhere / "checkpoint-3"))
    command = str(refused.value).split("`")[1]
    assert run_audit(command.split()[1:]) == 0, capsys.readouterr().err
    assert train(here, AuditCallback(), resume=str(elsewhere / "checkpoint-3")).state.global_step == 5


def test_a_pin_of_the_step_that_is_broken_is_let_through(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(), max_steps=3)
    pin = str(audit.guard(tmp_path)).replace("checkpoint-3", ".audit/pinned/checkpoint-3")
    (tmp_path / "checkpoint-3" / "optimizer.pt").unlink()

    assert str(audit.guard(tmp_path)) == pin
    assert train(tmp_path, AuditCallback(), resume=pin, max_steps=4).state.global_step == 4


def test_with_warn_a_broken_checkpoint_and_a_lost_optimizer_are_only_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, AuditCallback(pin=False), max_steps=3)
    (tmp_path / "checkpoint-3" / "optimizer.pt").unlink()
    train(tmp_path, AuditCallback(resume="warn", on_violation="warn"), resume=True, max_steps=4)

    told = said(caplog)
    assert "training goes on from step 3, but" in told[0]
    assert 'resume="warn"' not in told[0], "it is set already"
    assert any("resumed at step 3, but the optimizer's state was not loaded, it began anew" in line for line in told)


def test_an_optimizer_that_trainer_did_not_load_ends_the_training_before_its_next_save(tmp_path: Path) -> None:
    train(tmp_path / "before", max_steps=3)
    (tmp_path / "before" / "checkpoint-3" / "optimizer.pt").unlink()

    with pytest.raises(AuditError, match="resumed at step 3, but the optimizer's state was not loaded, it began anew;"):
        train(tmp_path / "after", AuditCallback(), resume=str(tmp_path / "before" / "checkpoint-3"))

    assert not (tmp_path / "after" / "checkpoint-4").exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adafactor", "adagrad", "rmsprop"])
def test_an_optimizer_that_was_loaded_or_keeps_nothing_goes_on(
    optimizer: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, AuditCallback(), max_steps=2, optim=optimizer)
    train(tmp_path, AuditCallback(), resume=True, max_steps=4, optim=optimizer)

    assert said(caplog) == []


@pytest.mark.parametrize(
    ("kept", "known"),
    [
        ({0: torch.ones(2)}, True),  # a tensor has a method values, which raises
        ({0: {"exp_avg": torch.ones(2)}}, True),
        ({0: [0]}, True),
        ({0: {"momentum_buffer": None}}, False),
        ({0: {}}, False),
        ({0: None}, False),
        ({}, False),
        ([torch.ones(2)], True),  # what is not shown is taken for loaded: nothing is said of it
        (torch.ones(2), True),
        (None, True),
    ],
)
def test_a_state_of_any_form_is_looked_at(kept: Any, known: bool) -> None:
    assert _has_state(SimpleNamespace(state=kept)) is known


def test_a_pinned_checkpoint_stays_as_it_was_when_its_step_is_saved_again(tmp_path: Path) -> None:
    train(tmp_path, AuditCallback(), max_steps=3)
    pin = tmp_path / ".audit" / "pinned" / "checkpoint-3"
    proven = {path.name: path.read_bytes() for path in pin.iterdir()}

    class Cut(transformers.TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path, Cut(), AuditCallback(), resume=str(tmp_path / "checkpoint-2"), max_steps=3, data=rows(24, seed=5)
        )

    assert (tmp_path / "checkpoint-3" / "optimizer.pt").read_bytes() != proven["optimizer.pt"]
    assert {path.name: path.read_bytes() for path in pin.iterdir()} == proven


# -- around it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"on_violation": "halt"}, {"depth": "deep"}, {"fresh": "yes"}])
def test_a_parameter_that_does_not_exist_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*it must be one of"):
        AuditCallback(**wrong)  # type: ignore[arg-type]


def test_the_package_itself_stays_light() -> None:
    program = "import audit_hf_trainer, sys; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_an_error_that_nobody_catches_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from audit_hf_trainer.callback import _in_one_line

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    error = _in_one_line(ValueError("start at step 0?"))

    sys.excepthook(ValueError, error, None)
    assert capsys.readouterr().err == "audit: start at step 0?\n"
    sys.excepthook(ValueError, ValueError("another"), None)
    assert "ValueError: another" in capsys.readouterr().err

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setenv("AUDIT_TRACEBACK", "1")
    _in_one_line(error)
    assert sys.excepthook is sys.__excepthook__
