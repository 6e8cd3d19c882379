"""Rehearsals of a script of one's own: one assertion each."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

import torch
import transformers

from audit.errors import AuditError
from audit_hf_trainer import AuditCallback, rehearse, straight_against_resumed
from tests.backends.hf_trainer.fitting import fit, llama, lora, made, rows

MORE: dict[str, Any] = {"max_steps": 9, "save_steps": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("own") / "run")
    fit(path, lora(lora_dropout=0.1), **MORE)
    return path


def factory(home: Path, **more: Any) -> Callable[[], Any]:
    return lambda: made(str(home / "elsewhere"), lora(lora_dropout=0.1), **{**MORE, **more})


def seen(run: str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(run).rglob("*")}


def test_the_script_that_trained_a_run_passes_and_leaves_it_as_it_is(run: str, tmp_path: Path) -> None:
    before, numbers = seen(run), torch.get_rng_state()
    found = rehearse(factory(tmp_path), run, checkpoint=3, steps=5, exact=True)
    assert found
    assert found.same
    assert [item.step for item in found.rehearsal.steps] == [4, 5, 6, 7, 8]
    assert found.judgement.judged == ("learning rate", "loss", "gradient norm")
    assert seen(run) == before
    assert torch.equal(torch.get_rng_state(), numbers)
    assert os.listdir(tmp_path) in ([], ["elsewhere"])
    assert not list(tmp_path.rglob("checkpoint-*"))


@pytest.mark.slow
def test_by_default_it_is_the_newest_checkpoint_with_steps_enough(run: str, tmp_path: Path) -> None:
    assert rehearse(factory(tmp_path), run).step == 3
    assert rehearse(factory(tmp_path), run, steps=2).step == 6


def test_a_failed_assertion_says_what_differs_and_why(run: str, tmp_path: Path) -> None:
    found = rehearse(factory(tmp_path, data=rows(24, seed=1)), run, checkpoint=3)
    with pytest.raises(AssertionError) as failed:
        assert found, str(found)
    text = str(failed.value)
    assert "step 4: loss: " in text
    assert "step 4: loss: " in repr(found)
    assert "\n" not in repr(found)
    assert "likely cause: what the first loss is computed from" in text


@pytest.mark.slow
def test_the_last_checkpoint_has_no_step_to_judge(run: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no step after it is in the log"):
        rehearse(factory(tmp_path), run, checkpoint=9)
    assert rehearse(factory(tmp_path), run, checkpoint=9, steps=0)


def test_fewer_steps_than_asked_for_are_said(run: str, tmp_path: Path) -> None:
    found = rehearse(factory(tmp_path), run, checkpoint=6, steps=5, exact=True)
    assert found
    assert "note: 3 of 5 steps are compared: the log of checkpoint-9 has none after step 9" in str(found)
    assert str(found).endswith("same in 3 of the 5 steps asked for")


@pytest.mark.parametrize(("limit", "last"), [({"max_steps": 5}, 5), ({"max_steps": -1, "num_train_epochs": 1}, 6)])
def test_a_trainer_that_ends_before_the_log_differs(limit: dict[str, Any], last: int, tmp_path: Path) -> None:
    constant: dict[str, Any] = {"lr_scheduler_type": "constant"}  # nothing but the end can differ
    fit(str(tmp_path / "run"), lora(lora_dropout=0.1), **MORE, **constant)
    found = rehearse(factory(tmp_path, **constant, **limit), tmp_path / "run", checkpoint=3, steps=5, exact=True)
    assert not found
    (difference,) = found.judgement.differences
    assert (difference.step, difference.found) == (last + 1, f"ended after step {last}")
    assert "its max_steps, its epochs" in (found.judgement.cause or "")


def test_a_trainer_with_nothing_left_to_train_compares_nothing_and_is_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="checkpoint-6: the trainer has no step left to train after it"):
        rehearse(factory(tmp_path, max_steps=6), run, checkpoint=6, steps=0)


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there(run: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="has no complete checkpoint-4"):
        rehearse(factory(tmp_path), run, checkpoint=4)


class Mine(transformers.TrainerCallback):
    """Might do anything."""


def test_a_callback_that_may_do_anything_is_named(run: str, tmp_path: Path) -> None:
    make = factory(tmp_path, callbacks=[Mine()])
    with pytest.raises(AuditError, match=r"test_own_rehearsal.Mine, which may do anything; .* callbacks=\[\"Mine\"\]"):
        rehearse(make, run)
    assert rehearse(make, run, callbacks=[Mine], steps=1)


def test_a_tracker_is_named(run: str, tmp_path: Path) -> None:
    from transformers.integrations import TensorBoardCallback

    pytest.importorskip("tensorboard")
    with pytest.raises(AuditError, match="reports to a tracker \\(TensorBoardCallback\\)"):
        rehearse(factory(tmp_path, callbacks=[TensorBoardCallback()]), run)


def test_the_hub_is_refused_before_a_repository_is_made(run: str, tmp_path: Path) -> None:
    kept = transformers.Trainer.init_hf_repo
    with pytest.raises(AuditError, match="pushes to the Hub"):
        rehearse(factory(tmp_path, push_to_hub=True), run)
    assert transformers.Trainer.init_hf_repo is kept


@pytest.mark.slow
def test_our_own_callback_is_left_out(run: str, tmp_path: Path) -> None:
    assert rehearse(factory(tmp_path, callbacks=[AuditCallback()]), run)
    assert not list(tmp_path.rglob(".audit"))


def test_what_makes_no_trainer_is_refused(run: str) -> None:
    with pytest.raises(AuditError, match="make_trainer returned a str"):
        rehearse(lambda: "a trainer", run)


def test_straight_and_resumed_are_the_same(tmp_path: Path) -> None:
    found = straight_against_resumed(factory(tmp_path), 4)
    assert found
    assert found.judgement.bit_for_bit
    assert [item.step for item in found.rehearsal.arrivals] == [4]


class Forgetful(transformers.Trainer):
    """Loads no optimizer state."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Nothing is loaded."""


@pytest.mark.slow
def test_a_trainer_that_forgets_its_optimizer_is_found(tmp_path: Path) -> None:
    def make() -> Any:
        trainer = factory(tmp_path)()
        trainer.__class__ = Forgetful
        return trainer

    found = straight_against_resumed(make, 4)
    assert not found
    assert [item.quantity for item in found.judgement.differences][:2] == ["optimizer state", "schedule"]
    assert "was not loaded" in (found.judgement.cause or "")


@pytest.mark.slow
def test_a_factory_that_makes_another_trainer_each_time(tmp_path: Path) -> None:
    seeds = iter(range(9))

    def make() -> Any:
        return made(str(tmp_path), lora(), data=rows(24, seed=next(seeds)), **MORE)

    with pytest.raises(AuditError, match="does not make the same trainer twice"):
        straight_against_resumed(make, 4)


@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_resume_is_between_two_steps(tmp_path: Path, at: int) -> None:
    with pytest.raises(AuditError, match="must come after the first and before the last"):
        straight_against_resumed(factory(tmp_path), 4, at)


@pytest.mark.slow
def test_a_trainer_that_ends_too_early_and_one_that_saves_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="ends after step 9, before step 12"):
        straight_against_resumed(factory(tmp_path), 12)
    with pytest.raises(AuditError, match="save_only_model"):
        straight_against_resumed(factory(tmp_path, save_only_model=True), 4)


@pytest.mark.slow
def test_experts_that_a_resume_does_not_load_are_found(tmp_path: Path) -> None:
    """Trainer 5.24 loads model.safetensors by name; a mixture of experts is saved under other names."""
    from tests.backends.hf_trainer.fitting import mixtral

    found = straight_against_resumed(lambda: made(str(tmp_path), mixtral(), **MORE), 4)
    if found:
        pytest.skip("this Trainer loads them")
    assert found.judgement.differences[0].quantity == "weights"
    assert straight_against_resumed(lambda: made(str(tmp_path), llama(), **MORE), 4)
