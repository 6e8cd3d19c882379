import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.audit.batch_rows import append, event, finished, leg, tell
from tests.audit.seals import verified

RULE = "steps/unsaved-tail"


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run whose newest checkpoint is of step 200."""
    return make_run(tmp_path / "run", (100, 200), max_steps=900)


def save_state(run: str, step: int, seed: int = 0) -> None:
    """Leave the trainer state of a later step in the run's root, as ``save_state()`` does at the end."""
    other = make_run(f"{run}-other", (step,), max_steps=900, save_steps=100, seed=seed)
    shutil.copy(f"{other}/checkpoint-{step}/trainer_state.json", run)
    shutil.rmtree(other)


def test_steps_that_a_failed_leg_had_done_beyond_the_newest_checkpoint_are_found(run: str) -> None:
    tell(run, leg("monday", 0, 300), event("failed", "monday", step=250, kind="error", reason="boom"))

    (finding,) = check(run, RULE)

    assert (finding.severity, finding.checkpoint, finding.blocks_resume) == (Severity.WARNING, None, False)
    assert "Steps 201 to 250 were trained and not saved" in finding.message


def test_so_are_those_of_a_leg_that_was_stopped(run: str) -> None:
    tell(run, leg("monday", 0, 300), event("stopped", "monday", step=201, signal=15))

    assert len(check(run, RULE)) == 1


def test_steps_that_only_the_state_in_the_root_tells_of_are_found(run: str) -> None:
    save_state(run, 250)

    (finding,) = check(run, RULE)

    assert "Steps 201 to 250" in finding.message
    assert finding.file == "trainer_state.json"


@pytest.mark.parametrize(
    "events",
    [
        [event("failed", "monday", step=200, kind="error")],
        [event("stopped", "monday", step=200, signal=15)],
        [event("failed", "monday", step=250, kind="error"), leg("monday", 200, 300, done=800)],
        [finished("monday", 0, 200)],
    ],
    ids=["failed just after a save", "stopped and saved", "being trained again", "finished"],
)
def test_nothing_is_lost(run: str, events: list[dict[str, Any]]) -> None:
    tell(run, leg("monday", 0, 300), *events)

    assert check(run, RULE) == []


@pytest.mark.parametrize("kind", ["guard", "start", "quarantine"])
def test_what_was_taken_up_since_is_known(run: str, kind: str) -> None:
    tell(run, leg("monday", 0, 300), event("failed", "monday", step=250, kind="error"))
    append(run, (kind, {"step": 200}))

    assert check(run, RULE) == []


def test_a_checkpoint_that_was_there_is_not_unsaved_but_gone(run: str) -> None:
    make_run(f"{run}-other", (300,), max_steps=900, save_steps=100)
    shutil.move(f"{run}-other/checkpoint-300", run)
    save_state(run, 300)
    verified(run)
    shutil.rmtree(f"{run}/checkpoint-300")

    report = verified(run)

    assert [item.rule for item in report.findings] == ["steps/reset"]


def weights(run: str) -> None:
    shutil.copy(f"{run}/checkpoint-200/adapter_model.safetensors", run)


def other_history(run: str) -> None:
    save_state(run, 250, seed=7)


def an_older_state(run: str) -> None:
    os.utime(f"{run}/trainer_state.json", (1, 1))


def no_state_at_all(run: str) -> None:
    Path(run, "trainer_state.json").unlink()


def a_broken_state(run: str) -> None:
    Path(run, "trainer_state.json").write_text(json.dumps({"global_step": "many"}))


def a_state_with_a_wrong_number(run: str) -> None:
    path = Path(run, "trainer_state.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "global_step": "many"}))


@pytest.mark.parametrize(
    "change",
    [weights, other_history, an_older_state, no_state_at_all, a_broken_state, a_state_with_a_wrong_number],
)
def test_a_state_in_the_root_that_tells_nothing_is_not_judged(run: str, change: Any) -> None:
    save_state(run, 250)
    assert check(run, RULE)

    change(run)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_a_state_in_the_root_that_is_of_the_newest_checkpoint_passes(run: str) -> None:
    save_state(run, 200)

    assert outcome(run, RULE).outcome is Outcome.PASS


def test_a_training_that_means_to_keep_the_best_alone_is_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), max_steps=900, save_strategy="best")
    save_state(run, 250)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE
