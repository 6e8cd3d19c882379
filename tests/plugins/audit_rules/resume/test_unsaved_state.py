"""resume/unsaved-state."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Severity
from audit.testing.judging import check, registry
from audit.testing.runs import edit_state, make_run

RULE = "resume/unsaved-state"
GENERATED = {"num_generations": 4, "steps_per_generation": 8, "num_iterations": 1, "gradient_accumulation_steps": 2}


def run_of(home: Path, **arguments: Any) -> str:
    return make_run(home / "run", (100, 200), max_steps=1000, **arguments)


def waited(run: str, *counts: Any) -> str:
    """Early stopping has waited for so many evaluations: one callback, or several."""
    kept = [
        {"args": {"early_stopping_patience": 3}, "attributes": {"early_stopping_patience_counter": count}}
        for count in counts
    ]
    edit_state(
        Path(run, "checkpoint-200"), stateful_callbacks={"EarlyStoppingCallback": kept if len(kept) > 1 else kept[0]}
    )
    return run


def test_a_reference_model_that_followed_the_training_is_told(tmp_path: Path) -> None:
    (finding,) = check(run_of(tmp_path, sync_ref_model=True, ref_model_sync_steps=150), RULE)
    assert (finding.checkpoint, finding.severity, finding.blocks_resume) == ("checkpoint-200", Severity.INFO, False)
    assert finding.message.startswith("The reference model follows the training (sync_ref_model), and is in no file")
    assert registry().rule(RULE).blocks == "blocks resuming with --exact"


@pytest.mark.parametrize(
    "arguments",
    [
        {"sync_ref_model": True, "ref_model_sync_steps": 512},
        {"sync_ref_model": False, "ref_model_sync_steps": 150},
        {"sync_ref_model": True, "ref_model_sync_steps": "often"},
    ],
)
def test_one_that_did_not_passes(arguments: dict[str, Any], tmp_path: Path) -> None:
    assert not check(run_of(tmp_path, **arguments), RULE)


AVERAGED = {"teacher_model_kind": "ema", "teacher_sync_steps": 150}


def test_a_teacher_that_followed_the_training_is_told(tmp_path: Path) -> None:
    (finding,) = check(run_of(tmp_path, **AVERAGED), RULE)
    assert finding.checkpoint == "checkpoint-200"
    assert finding.message.startswith("The teacher is an average of the training's weights")


def test_one_that_did_not_or_that_is_an_adapter_passes(tmp_path: Path) -> None:
    assert not check(run_of(tmp_path, **{**AVERAGED, "teacher_model_kind": "live"}), RULE)
    assert not check(run_of(tmp_path / "later", **{**AVERAGED, "teacher_sync_steps": 512}), RULE)
    run = run_of(tmp_path / "adapter", **AVERAGED)
    for step in (100, 200):
        place = Path(run, f"checkpoint-{step}")
        (place / "teacher").mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(place / name, place / "teacher" / name)
    assert not check(run, RULE)


def test_completions_that_wait_to_be_trained_on_are_told(tmp_path: Path) -> None:
    (one, other) = check(run_of(tmp_path, **{**GENERATED, "num_iterations": 3}), RULE)
    assert (one.checkpoint, other.checkpoint) == ("checkpoint-100", "checkpoint-200")
    assert "trained on for 24 batches, of which 8 are done: a resume would generate others" in one.message
    assert "of which 16 are done" in other.message


@pytest.mark.parametrize(
    "arguments", [GENERATED, {**GENERATED, "num_iterations": 0}, {**GENERATED, "steps_per_generation": None}]
)
def test_a_checkpoint_between_two_generations_passes(arguments: dict[str, Any], tmp_path: Path) -> None:
    assert not check(run_of(tmp_path, **arguments), RULE)


def test_patience_that_begins_anew_is_told(tmp_path: Path) -> None:
    (finding,) = check(waited(run_of(tmp_path), 2), RULE)
    assert finding.checkpoint == "checkpoint-200"
    assert finding.message.startswith("EarlyStoppingCallback has waited for 2 evaluation(s) without a better one")
    (finding,) = check(waited(run_of(tmp_path / "several"), 0, 1), RULE)
    assert "waited for 1 evaluation(s)" in finding.message


def exporting(run: str, attributes: Any, args: Any = None) -> str:
    """A callback of the script has exported its state."""
    kept = {"args": args or {}, "attributes": attributes}
    edit_state(Path(run, "checkpoint-200"), stateful_callbacks={"TrainerControl": CONTROL, "Curriculum": kept})
    return run


CONTROL = {"args": {"should_save": True}, "attributes": {"should_log": True}}


def test_state_of_a_callback_of_the_script_is_told(tmp_path: Path) -> None:
    (finding,) = check(exporting(run_of(tmp_path), {"level": 3, "seen": []}), RULE)
    assert finding.message == "Curriculum has state that a resume would begin anew: level"
    assert (finding.file, finding.severity) == ("trainer_state.json", Severity.INFO)
    assert check(exporting(run_of(tmp_path / "moved"), {"level": 0}, {"level": 3}), RULE)


def test_one_that_has_none_yet_and_one_that_is_restored_pass(tmp_path: Path) -> None:
    assert not check(exporting(run_of(tmp_path), {"level": 0, "seen": []}), RULE)
    assert not check(exporting(run_of(tmp_path / "as_made"), {"level": 3}, {"level": 3}), RULE)
    assert not check(exporting(run_of(tmp_path / "odd"), 7), RULE)
    restored = run_of(tmp_path / "restored", restore_callback_states_from_checkpoint=True)
    assert not check(exporting(restored, {"level": 3}), RULE)


def test_none_and_what_is_restored_pass(tmp_path: Path) -> None:
    assert not check(waited(run_of(tmp_path), 0), RULE)
    assert not check(waited(run_of(tmp_path / "odd"), "2", True, None), RULE)
    assert not check(waited(run_of(tmp_path / "restored", restore_callback_states_from_checkpoint=True), 2), RULE)
    run = waited(run_of(tmp_path / "over"), 2)
    edit_state(Path(run, "checkpoint-200"), max_steps=200)
    assert not check(run, RULE)
