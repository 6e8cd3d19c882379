"""resume/data-order."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from audit import Options, guard, verify
from audit.findings import Severity
from audit.judging.decision import ResumeRefused
from audit.testing.judging import check, registry, report
from audit.testing.runs import edit_state, make_run

RULE = "resume/data-order"
NOT_SEEDED: dict[str, Any] = {"accelerator_config": {"use_seedable_sampler": False}}
DISPATCHED: dict[str, Any] = {"accelerator_config": {"use_seedable_sampler": True, "dispatch_batches": True}}


def run_of(home: Path, epochs: tuple[float, ...] = (0.5, 1.5), planned: float = 3, **arguments: Any) -> str:
    """A run of 300 steps, interrupted, with a checkpoint at each of these epochs."""
    steps = [100 * number for number in range(1, len(epochs) + 1)]
    run = make_run(home / "run", steps, max_steps=1000, **arguments)
    for step, epoch in zip(steps, epochs, strict=True):
        edit_state(Path(run, f"checkpoint-{step}"), epoch=epoch, num_train_epochs=planned)
    return run


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"train_sampling_strategy": "group_by_length"}, "group_by_length"),
        ({"group_by_length": True}, "group_by_length"),
        (NOT_SEEDED, "use_seedable_sampler is false"),
        ({**NOT_SEEDED, "train_sampling_strategy": "random"}, "use_seedable_sampler is false"),
        (DISPATCHED, "dispatch_batches is true"),
    ],
)
def test_an_order_that_is_drawn_anew_is_told_in_a_later_epoch(
    arguments: dict[str, Any], why: str, tmp_path: Path
) -> None:
    (finding,) = check(run_of(tmp_path, **arguments), RULE)
    assert (finding.checkpoint, finding.severity, finding.blocks_resume) == ("checkpoint-200", Severity.INFO, False)
    assert finding.message == (
        f"A resume within this epoch would draw its order anew ({why}): some examples would be trained twice, others not at "
        "all"
    )
    assert registry().rule(RULE).blocks == "blocks resuming with --exact"


@pytest.mark.parametrize(
    ("epochs", "arguments"),
    [
        ((0.5, 1.0), {"train_sampling_strategy": "group_by_length"}),
        ((0.99,), NOT_SEEDED),
        ((0.5, 2.0), NOT_SEEDED),
        ((0.5, 1.5), {}),
        ((0.5, 1.5), {"accelerator_config": {"use_seedable_sampler": True}}),
        ((0.5, 1.5), {"accelerator_config": {"use_seedable_sampler": True, "dispatch_batches": None}}),
        ((0.5, 2.0), DISPATCHED),
        ((0.5, 1.5), {**DISPATCHED, "train_sampling_strategy": "sequential"}),
        ((0.5, 1.5), {**NOT_SEEDED, "train_sampling_strategy": "sequential"}),
        ((0.5, 1.5), {**NOT_SEEDED, "num_generations": 2, "shuffle_dataset": False}),
        ((0.5, 0.75), {"num_generations": 2, "shuffle_dataset": True}),
        ((0.5, 1.5), {"shuffle_dataset": True}),  # SFT
        ((0.5, 1.5), {"shuffle_dataset": False, "max_completion_length": 64}),
        ((0.5, 1.5), {**NOT_SEEDED, "ignore_data_skip": True}),
        ((0.5, 1.5), {"accelerator_config": "none"}),
    ],
)
def test_the_first_epoch_and_the_end_of_one_and_a_seeded_order_pass(
    epochs: tuple[float, ...], arguments: dict[str, Any], tmp_path: Path
) -> None:
    assert not check(run_of(tmp_path, epochs, **arguments), RULE)


@pytest.mark.parametrize("planned", [2**31, sys.maxsize])
def test_a_stream_that_was_begun_again_is_told_and_its_first_pass_and_the_end_of_one_are_not(
    tmp_path: Path, planned: int
) -> None:
    # Of 1000 steps 150 are a pass: it ends after 150 and after 300.
    run = run_of(tmp_path, (0.1, 1.05, 1.15), planned)
    (finding,) = check(run, RULE)
    assert finding.checkpoint == "checkpoint-200"
    assert "not read for the first time: a resume would skip all steps so far from its beginning" in finding.message


@pytest.mark.parametrize(
    ("epoch", "what"),
    [
        (
            1.5,
            "with the order of the first epoch, in which trl's sampler begins again: some examples of this one would",
        ),
        (2.0, "with the order of the first epoch, in which trl's sampler begins again"),
    ],
)
def test_the_sampler_of_trl_that_begins_again_is_told_also_at_the_end_of_an_epoch(
    epoch: float, what: str, tmp_path: Path
) -> None:
    (finding,) = check(run_of(tmp_path, (0.5, epoch), num_generations=2, shuffle_dataset=True), RULE)
    assert finding.checkpoint == "checkpoint-200"
    assert what in finding.message
    assert finding.message.endswith("at all") == (epoch == 1.5)


def test_distillation_generates_and_has_that_sampler_too(tmp_path: Path) -> None:
    (finding,) = check(run_of(tmp_path, (0.5, 1.5), shuffle_dataset=True, max_completion_length=64), RULE)
    assert "in which trl's sampler begins again" in finding.message


@pytest.mark.parametrize("epoch", [math.nan, math.inf])
@pytest.mark.parametrize("planned", [3, sys.maxsize])
def test_an_epoch_that_is_no_number_is_none(epoch: float, planned: float, tmp_path: Path) -> None:
    run = run_of(tmp_path, (0.5, epoch), planned, train_sampling_strategy="group_by_length")
    assert not report(run, settle_seconds=0).crashed
    assert not check(run, RULE)


def test_the_end_of_a_training_passes(tmp_path: Path) -> None:
    run = run_of(tmp_path, **NOT_SEEDED)
    edit_state(Path(run, "checkpoint-200"), max_steps=200)
    assert not check(run, RULE)


def test_the_guard_hands_it_out_and_with_exact_the_one_before(tmp_path: Path) -> None:
    run = run_of(tmp_path, **NOT_SEEDED)
    assert verify(run, Options(settle_seconds=0)).verdict == "sound"
    assert guard(run) == Path(run, "checkpoint-200")
    assert guard(run, exact=True) == Path(run, "checkpoint-100")
    with pytest.raises(ResumeRefused, match="would draw its order anew"):
        guard(run, exact=True, strict=True)
