"""The step that a script saved in its state, against that of the checkpoint."""

from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from tests.dcp import make_whole

RULE = "shards/step-mismatch"


def run_at(path: Path, steps: dict[int, int], name: str = "train_state.step") -> str:
    return str(make_whole(path / "run", tuple(steps), lambda step: {name: steps[step]}))


def test_a_step_of_another_checkpoint(tmp_path: Path) -> None:
    (finding,) = check(run_at(tmp_path, {100: 100, 200: 200, 300: 200}), RULE)

    assert finding.message == "train_state.step is 200, but it is step 300"
    assert (finding.checkpoint, finding.blocks_resume) == ("step-300", True)


@pytest.mark.parametrize(
    "steps",
    [{100: 100, 200: 200, 300: 300}, {100: 1, 200: 2, 300: 3}, {100: 100, 200: 199, 300: 298}],
    ids=["of their own", "epochs", "another count"],
)
def test_what_does_not_count_as_the_names_do_passes(tmp_path: Path, steps: dict[int, int]) -> None:
    assert check(run_at(tmp_path, steps), RULE) == []


def test_only_what_is_called_step(tmp_path: Path) -> None:
    run = run_at(tmp_path, {100: 100, 200: 200, 300: 200}, "train_state.batches")
    assert outcome(run, RULE, "step-300").outcome is Outcome.NOT_APPLICABLE


def test_one_other_checkpoint_proves_nothing(tmp_path: Path) -> None:
    assert outcome(run_at(tmp_path, {100: 100, 200: 100}), RULE, "step-200").outcome is Outcome.NOT_APPLICABLE
