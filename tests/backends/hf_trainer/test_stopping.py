"""A leg that is stopped after any of its steps, and continued, ends in the weights of one that was not."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import Step
from tests.backends.hf_trainer.fitting import data_file, rows
from tests.backends.hf_trainer.test_training import digests, leg

BATCHES = [[row["input_ids"] for row in rows(count, seed=seed)] for count, seed in ((12, 3), (20, 4))]
ENDS = (3, 8)
DAILY: dict[str, Any] = {"per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1}
BEST = {"eval_steps": 2, "metric_for_best_model": "loss"}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "both at the end of an epoch": {"eval_strategy": "epoch", "save_strategy": "epoch"},
    "evaluated at the end of an epoch": {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 2},
    "logged and saved at the end of an epoch": {"logging_strategy": "epoch", "save_strategy": "epoch"},
    "plateau": {"eval_strategy": "steps", "lr_scheduler_type": "reduce_lr_on_plateau", "save_steps": 2,
                "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5, "threshold": 0.2}, **BEST},
    "plateau, at the end of an epoch": {"eval_strategy": "epoch", "lr_scheduler_type": "reduce_lr_on_plateau",
                                        "save_strategy": "epoch", "metric_for_best_model": "loss"},
    "the best is saved": {"eval_strategy": "steps", "save_strategy": "best", **BEST},
    "the best is saved, at the end of an epoch": {"eval_strategy": "epoch", "save_strategy": "best",
                                                  "metric_for_best_model": "loss"},
    "evaluated at the start": {"eval_strategy": "steps", "eval_on_start": True, "save_steps": 3, **BEST},
    "workers that persist": {"eval_strategy": "steps", "dataloader_num_workers": 1,
                             "dataloader_persistent_workers": True, "save_steps": 99, **BEST},
    "nothing is saved but at the end": {"save_strategy": "no"},
}  # fmt: skip


def train(run: Path, stops: tuple[int, ...], arguments: dict[str, Any]) -> None:
    """Train both batches; a signal comes in each step of ``stops``."""
    held_out = data_file(str(run.parent / "eval.jsonl"), [row["input_ids"] for row in rows(4, seed=9)])

    def tell(event: object) -> None:
        if isinstance(event, Step) and event.step == now and event.loss is None and event.eval_loss is None:
            os.kill(os.getpid(), signal.SIGTERM)

    begin = 0
    kind = arguments.get("lr_scheduler_type", "constant")
    for batch, end in zip(BATCHES, ENDS, strict=True):
        first = begin
        for stop in (*(step for step in stops if first < step < end), end):
            now = stop if stop != end else None
            data = {"eval": held_out} if "eval_strategy" in arguments else {}
            after, examples = begin, batch[(begin - first) * 4 :]
            result = leg(
                run,
                after,
                end,
                examples,
                tell,
                options=data,
                arguments={**DAILY, **arguments, "lr_scheduler_type": kind},
            )
            assert result.last_step == stop
            assert result.stopped_by == (signal.SIGTERM if now else None)
            begin = stop


def told(checkpoint: Path) -> list[dict[str, Any]]:
    kept = ("step", "loss", "learning_rate", "eval_loss")
    log = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [{key: row[key] for key in kept if key in row} for row in log if "train_runtime" not in row]


FAST = ("both at the end of an epoch",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in CONFIGURATIONS]
)
def test_a_stop_at_any_step_changes_no_bit(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    arguments = CONFIGURATIONS[name]
    straight = tmp_path / "straight" / "run"
    straight.parent.mkdir()
    train(straight, (), arguments)
    for stops in ((1, 4), (2, 5), (6, 7), (1, 2, 4, 5, 6, 7)):
        home = tmp_path / "-".join(map(str, stops))
        home.mkdir()
        train(home / "run", stops, arguments)
        for end in ENDS:
            expected, found = straight / f"checkpoint-{end}", home / "run" / f"checkpoint-{end}"
            assert digests(found) == digests(expected), stops
            if arguments.get("eval_strategy") == "epoch":
                assert told(found)[-1].keys() == {"step", "eval_loss"}  # saved after the evaluation, and only then
            if "logging_strategy" not in arguments:
                assert told(found) == told(expected), stops
