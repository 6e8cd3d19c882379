"""audit best: the checkpoint with the best value of a logged metric, its path alone on stdout."""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audit.testing.runs import edit_arguments, edit_state, make_run
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def log(run: str, values: dict[int, Any], key: str = "eval_score") -> None:
    """Replace the logs: each checkpoint has what was logged up to its step."""
    for checkpoint in Path(run).glob("checkpoint-*"):
        step = int(checkpoint.name.partition("-")[2])
        edit_state(checkpoint, log_history=[{"step": at, key: values[at]} for at in sorted(values) if at <= step])


@pytest.fixture
def evaluated(tmp_path: Path) -> str:
    """A run that was evaluated at each save; its loss falls, and its arguments name it."""
    return make_run(tmp_path / "evaluated", best=True)


def test_the_path_alone_is_on_stdout_and_the_reasons_are_not(audit: Audit, evaluated: str) -> None:
    ended = audit("best", evaluated)
    assert (ended.code, ended.out) == (0, f"{evaluated}/checkpoint-300\n")
    assert ended.err == (
        "note: lower eval_loss is better: greater_is_better of the run says so\n"
        "checkpoint-300: eval_loss 1.475 at step 300\n"
    )


def test_the_other_direction_can_be_asked_for(audit: Audit, evaluated: str) -> None:
    assert audit("best", evaluated, "--mode", "max").out == f"{evaluated}/checkpoint-100\n"


def test_the_metric_of_the_run_is_the_default(audit: Audit, run: str) -> None:
    log(run, {100: 0.1, 200: 0.9, 300: 0.5})
    for step in (100, 200, 300):
        edit_arguments(f"{run}/checkpoint-{step}", metric_for_best_model="score", greater_is_better=True)
    assert audit("best", run).out == f"{run}/checkpoint-200\n"
    for step in (100, 200, 300):
        edit_arguments(f"{run}/checkpoint-{step}", metric_for_best_model="eval_score", greater_is_better=False)
    assert audit("best", run).out == f"{run}/checkpoint-100\n"


@pytest.mark.parametrize(
    ("name", "best"),
    [("eval_accuracy", 200), ("eval_rougeL", 200), ("eval_nq_exact_match", 200), ("rewards/margins", 200),
     ("eval_loss", 100), ("eval_law_loss", 100), ("perplexity", 100), ("eval_wer", 100)],
)  # fmt: skip
def test_a_well_known_name_tells_the_direction_and_that_is_said(audit: Audit, run: str, name: str, best: int) -> None:
    log(run, {100: 0.1, 200: 0.9, 300: 0.5}, name)
    ended = audit("best", run, "--metric", name)
    assert ended.out == f"{run}/checkpoint-{best}\n"
    assert f"{name} is better: guessed from its name" in ended.err


def test_a_name_that_tells_nothing_needs_a_direction(audit: Audit, run: str) -> None:
    log(run, {100: 0.1, 200: 0.9, 300: 0.5}, "eval_zeal")
    assert "say it with --mode max or --mode min" in one_line(audit("best", run, "--metric", "eval_zeal"))
    assert audit("best", run, "--metric", "eval_zeal", "--mode", "max").out == f"{run}/checkpoint-200\n"


def test_a_name_without_its_prefix_is_found(audit: Audit, run: str) -> None:
    log(run, {100: 0.1, 200: 0.9, 300: 0.5}, "eval_f1")
    ended = audit("best", run, "--metric", "f1")
    assert ended.out == f"{run}/checkpoint-200\n"
    assert "note: f1 is logged as eval_f1\n" in ended.err


def test_of_equal_values_the_earliest_wins_as_with_trainer(audit: Audit, run: str) -> None:
    log(run, {100: 0.5, 200: 0.9, 300: 0.9})
    assert audit("best", run, "--metric", "eval_score", "--mode", "max").out == f"{run}/checkpoint-200\n"


def test_a_value_of_another_step_does_not_count_beside_measured_ones(audit: Audit, run: str) -> None:
    log(run, {100: 0.5, 150: 0.9, 300: 0.6})
    ended = audit("best", run, "--metric", "eval_score", "--mode", "max")
    assert ended.out == f"{run}/checkpoint-300\n"
    assert "passed over checkpoint-200: eval_score was last measured at step 150" in ended.err
    assert "the best eval_score that was logged, 0.9 at step 150, has no checkpoint here" in ended.err


def test_where_no_step_fits_the_last_value_before_is_taken_and_that_is_said(audit: Audit, run: str) -> None:
    log(run, {90: 0.5, 190: 0.9, 290: 0.6})
    ended = audit("best", run, "--metric", "eval_score", "--mode", "max")
    assert ended.out == f"{run}/checkpoint-200\n"
    assert "measured at no checkpoint's own step" in ended.err


def test_of_two_values_of_one_step_the_later_one_counts(audit: Audit, run: str) -> None:
    for step, values in ((100, [0.9, 0.1]), (200, [0.2]), (300, [0.3])):
        edit_state(f"{run}/checkpoint-{step}", log_history=[{"step": step, "eval_f1": value} for value in values])
    assert audit("best", run, "--metric", "eval_f1").out == f"{run}/checkpoint-300\n"


def test_what_is_no_number_is_passed_over(audit: Audit, run: str) -> None:
    log(run, {100: float("nan"), 200: 0.2, 300: float("inf")})
    ended = audit("best", run, "--metric", "eval_score", "--mode", "max")
    assert ended.out == f"{run}/checkpoint-200\n"
    assert "passed over checkpoint-100: eval_score is nan" in ended.err


def test_a_checkpoint_whose_weights_are_broken_or_gone_is_passed_over(audit: Audit, evaluated: str) -> None:
    with open(f"{evaluated}/checkpoint-300/adapter_model.safetensors", "r+b") as file:
        file.truncate(500)
    os.unlink(f"{evaluated}/checkpoint-200/adapter_model.safetensors")
    ended = audit("best", evaluated)
    assert ended.out == f"{evaluated}/checkpoint-100\n"
    assert "passed over checkpoint-300: adapter_model.safetensors is truncated" in ended.err
    assert "passed over checkpoint-200: its weights are not all there" in ended.err


def test_a_checkpoint_that_is_being_written_is_passed_over(audit: Audit, evaluated: str) -> None:
    os.unlink(f"{evaluated}/checkpoint-300/trainer_state.json")
    ended = audit("best", evaluated)
    assert ended.out == f"{evaluated}/checkpoint-200\n"
    assert "passed over checkpoint-300: in progress" in ended.err


def test_what_only_a_resume_needs_does_not_matter_and_is_said(audit: Audit, evaluated: str) -> None:
    os.unlink(f"{evaluated}/checkpoint-300/optimizer.pt")
    ended = audit("best", evaluated)
    assert ended.out == f"{evaluated}/checkpoint-300\n"
    assert "checkpoint-300 cannot be resumed from (files/missing-optimizer); its weights can be read" in ended.err


def test_without_a_value_in_any_checkpoint_nothing_is_printed(audit: Audit, run: str) -> None:
    log(run, {100: float("nan"), 200: float("nan"), 300: float("nan")})
    ended = audit("best", run, "--metric", "eval_score", "--mode", "min")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == f"none: {run}: no checkpoint has a value for eval_score"


def test_a_metric_that_was_never_logged_is_one_line_with_those_that_were(audit: Audit, run: str) -> None:
    line = one_line(audit("best", run, "--metric", "los"))
    assert line.endswith(
        "no checkpoint's log has los; logged are: grad_norm, learning_rate, loss; did you mean 'loss'?\n"
    )


def test_for_programs_there_is_every_candidate(audit: Audit, evaluated: str) -> None:
    document = json.loads(audit("best", evaluated, "--format", "json").out)
    assert document["path"] == f"{evaluated}/checkpoint-300"
    assert (document["metric"], document["mode"], document["best"]["step"]) == ("eval_loss", "min", 300)
    assert [item["checkpoint"] for item in document["candidates"]] == [f"checkpoint-{n}" for n in (100, 200, 300)]


def test_the_choice_as_json_fits_its_schema(audit: Audit, evaluated: str) -> None:
    schema = json.loads((files("audit") / "schemas" / "best-1.json").read_text(encoding="utf-8"))
    document = json.loads(audit("best", evaluated, "--format", "json").out)

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert document.keys() == schema["properties"].keys()
    assert document["best"] in document["candidates"]
