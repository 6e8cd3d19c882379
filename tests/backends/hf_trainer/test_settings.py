"""What [model], [arguments] and [schedule] may say together, and why not."""

from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.settings import REFUSED, check, schedule_of, tracks

MODEL: dict[str, Any] = {"random": {}}


def settings(arguments: dict[str, Any] | None = None, model: Any = MODEL, **schedule: int) -> dict[str, Any]:
    return {"model": model, "arguments": arguments or {}, "schedule": schedule}


@pytest.mark.parametrize(
    ("arguments", "schedule"),
    [
        ({}, {}),
        ({"warmup_steps": 5}, {}),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 5}, {}),
        ({"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 5}, {}),
        ({"lr_scheduler_type": "linear"}, {"total_steps": 100}),
        ({"lr_scheduler_type": "cosine", "warmup_steps": 0.1}, {"total_steps": 100}),
        ({"lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 5}, {"decay_steps": 10}),
        ({"save_total_limit": 1}, {}),
        ({"save_total_limit": 2, "metric_for_best_model": "loss"}, {}),
    ],
)
def test_a_rate_that_goes_on_over_every_boundary_is_taken(arguments: Any, schedule: Any) -> None:
    check(settings(arguments, **schedule))


@pytest.mark.parametrize(
    ("arguments", "schedule", "key", "reason"),
    [
        ({"lr_scheduler_type": "linear"}, {}, "arguments.lr_scheduler_type", "fall to 0 at each boundary"),
        ({"lr_scheduler_type": "cosine"}, {}, "arguments.lr_scheduler_type", "schedule.total_steps"),
        ({"lr_scheduler_type": "constant"}, {"total_steps": 9}, "schedule.total_steps", "has no end"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, {}, "schedule.decay_steps", "is missing"),
        (
            {"lr_scheduler_type": "warmup_stable_decay"},
            {"decay_steps": 2, "total_steps": 9},
            "schedule.total_steps",
            "audit train --decay",
        ),
        ({"lr_scheduler_type": "linear"}, {"decay_steps": 2}, "schedule.decay_steps", "this is linear"),
        ({"warmup_steps": 0.1}, {}, "arguments.warmup_steps", "a share of schedule.total_steps"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 3}, {}, "arguments.warmup_steps", "has no warm-up"),
        ({"save_total_limit": 1, "metric_for_best_model": "loss"}, {}, "arguments.save_total_limit", "set 2"),
        ({"save_total_limit": 1, "save_strategy": "best"}, {}, "arguments.save_total_limit", "deletes the newest"),
        (
            {"save_total_limit": 1, "lr_scheduler_type": "reduce_lr_on_plateau"},
            {},
            "arguments.save_total_limit",
            "set 2",
        ),
    ],
)
def test_what_would_go_wrong_is_refused_with_key_and_reason(
    arguments: Any, schedule: Any, key: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check(settings(arguments, **schedule))
    assert str(refused.value).startswith(f"{key}: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize("model", [{}, {"random": {}, "name_or_path": "somewhere"}])
def test_a_model_is_described_in_one_way(model: Any) -> None:
    with pytest.raises(ConfigError, match="model: set either name_or_path"):
        check(settings(model=model))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [({}, "constant"), ({"warmup_steps": 3}, "constant_with_warmup"), ({"lr_scheduler_type": "cosine"}, "cosine")],
)
def test_the_schedule_is_constant_unless_said_otherwise(arguments: Any, kind: str) -> None:
    assert schedule_of({"arguments": arguments}) == kind


def test_every_field_that_is_refused_is_one_of_trainer() -> None:
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    fields = {item.name for item in transformers.TrainingArguments.__dataclass_fields__.values()}
    assert REFUSED.keys() - fields == set()


@pytest.mark.parametrize(
    "arguments",
    [
        {"per_device_train_batch_size": 0},
        {"gradient_accumulation_steps": 0},
        {"save_steps": 0},
        {"save_total_limit": 0},
        {"logging_steps": -1},
        {"learning_rate": -1e-4},
        {"weight_decay": -0.1},
        {"label_smoothing_factor": 1.5},
        {"max_grad_norm": -1},
        {"ddp_timeout": 1 << 63},
        {"per_device_eval_batch_size": 10**30},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_numbers_that_no_training_can_work_with_are_refused(arguments: dict[str, float]) -> None:
    (name,) = arguments

    with pytest.raises(ConfigError, match=rf"^arguments\.{name}: .* is (less than 1|negative|beyond|not between)"):
        check({"model": {"random": {}}, "arguments": arguments})


def test_shares_of_all_steps_are_numbers_of_steps_too() -> None:
    check({"model": {"random": {}}, "arguments": {"save_steps": 0.1, "logging_steps": 0.05, "learning_rate": 0.0}})


@pytest.mark.parametrize("named", ["tensorboard", "all", ["codecarbon", "wandb"], ["trackio"]])
def test_a_leg_tracks_if_it_reports_to_a_tracker(named: object) -> None:
    assert tracks({"arguments": {"report_to": named}})


@pytest.mark.parametrize("named", ["none", [], ["codecarbon"], "clearml"])
def test_a_leg_that_reports_to_none_that_is_known_tracks_nothing(named: object) -> None:
    assert not tracks({"arguments": {"report_to": named}})
    assert not tracks({})
