"""A value that Trainer would fail on once it trains, loads rows or evaluates is refused with its key."""

from pathlib import Path
from typing import Any

import pytest

from tests.backends.hf_trainer.needing import refused, request_of

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

EVALUATES = {"eval_strategy": "steps", "eval_steps": 1}
ROWS = {"eval": "held-out.jsonl"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a text": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": "no"},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": '{"use_reentrant": false}'},
        "arguments.gradient_checkpointing_kwargs: 'no' is a text; write a table",
    ),
    "no text at all": (
        {"lr_scheduler_kwargs": "no"},
        {"lr_scheduler_kwargs": ""},
        "arguments.lr_scheduler_kwargs: 'no' is a text; write a table",
    ),
    "workers": (
        {"dataloader_num_workers": -1},
        {"dataloader_num_workers": 0},
        "arguments.dataloader_num_workers: -1 is negative",
    ),
    "prefetch": (
        {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 0},
        {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 1},
        "arguments.dataloader_prefetch_factor: 0 is less than 1",
    ),
    "examples of a step": (
        {"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}}},
        {"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 1}}},
        "arguments.accelerator_config: gradient_accumulation_kwargs has num_steps; set arguments.gradient_accumulation_steps",
    ),
    "accumulation": (
        {"accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_bach": True}}},
        {"accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}}},
        "arguments.accelerator_config: gradient_accumulation_kwargs has no sync_each_bach; did you mean 'sync_each_batch'",
    ),
    "best by nothing": (
        {"save_strategy": "best"},
        {"save_strategy": "best", "metric_for_best_model": "eval_loss"},
        "arguments.save_strategy: best needs arguments.metric_for_best_model",
    ),
    "never moved": (
        {**EVALUATES, "eval_accumulation_steps": 0},
        {**EVALUATES, "eval_accumulation_steps": 1},
        "arguments.eval_accumulation_steps: 0 is less than 1",
    ),
    "no such metric": (
        {**EVALUATES, "metric_for_best_model": "eval_los"},
        {**EVALUATES, "metric_for_best_model": "loss"},
        "arguments.metric_for_best_model: an evaluation has no eval_los; did you mean 'eval_loss'",
    ),
    "a metric of memory": (
        {**EVALUATES, "metric_for_best_model": "mem_cpu_alloc_delta"},
        {**EVALUATES, "metric_for_best_model": "mem_cpu_alloc_delta", "skip_memory_metrics": False},
        "arguments.metric_for_best_model: an evaluation has no eval_mem_cpu_alloc_delta",
    ),
}


@pytest.mark.parametrize(("bad", "good", "said"), CASES.values(), ids=CASES)
def test_what_trainer_fails_on_is_refused_and_its_neighbour_is_not(
    tmp_path: Path, bad: dict[str, Any], good: dict[str, Any], said: str
) -> None:
    assert refused(request_of(tmp_path, bad, ROWS)).startswith(said)
    assert refused(request_of(tmp_path, good, ROWS)) == ""


def test_a_metric_that_nothing_measures_is_not_missed_without_evaluations(tmp_path: Path) -> None:
    assert refused(request_of(tmp_path, {"metric_for_best_model": "accuracy"})) == ""


def test_the_metric_of_the_guard_is_named_by_its_own_key(tmp_path: Path) -> None:
    text = refused(request_of(tmp_path, {}, ROWS, guard={"best": "accuracy"}))
    assert text.startswith("guard.best: an evaluation has no eval_accuracy; it has eval_loss, ")
    assert refused(request_of(tmp_path, {}, ROWS, guard={"best": "eval_loss"})) == ""


def test_an_evaluation_at_the_start_needs_rows(tmp_path: Path) -> None:
    assert refused(request_of(tmp_path, {"eval_on_start": True})).startswith(
        "arguments.eval_on_start: needs held-out rows"
    )
    assert refused(request_of(tmp_path, {"eval_on_start": True}, ROWS)) == ""


@pytest.mark.parametrize(("workers", "context"), [(1, "spwan"), (0, "spawn")])
def test_a_way_to_start_workers_needs_to_be_one_and_to_have_workers(tmp_path: Path, workers: int, context: str) -> None:
    transformers = pytest.importorskip("transformers")
    if "dataloader_multiprocessing_context" not in transformers.TrainingArguments.__dataclass_fields__:
        pytest.skip("this transformers has no such argument")
    fields = {"dataloader_num_workers": workers, "dataloader_multiprocessing_context": context}
    assert refused(request_of(tmp_path, fields)).startswith("arguments.dataloader_multiprocessing_context: ")
    fields = {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "spawn"}
    assert refused(request_of(tmp_path, fields)) == ""
