"""Runs that were resumed, on the same data or on new batches."""

import os
from typing import Any

from tests.backends.hf_trainer.fitting import VOCABULARY, data_file, fit, llama, lora, rows
from tests.backends.hf_trainer.table import configuration


@configuration("resumed once, same goal", sample=True)
def resumed(run: str) -> None:
    fit(run, lora(), callbacks=[stop_after(6)])
    fit(run, lora(), resume=True)


@configuration("resumed with a larger max_steps, constant schedule")
def extended(run: str) -> None:
    fit(run, lora(), lr_scheduler_type="constant", max_steps=6)
    fit(run, lora(), lr_scheduler_type="constant", max_steps=12, resume=True)


@configuration("resumed with another save_steps, which Trainer ignores")
def save_steps_changed(run: str) -> None:
    fit(run, lora(), lr_scheduler_type="constant", max_steps=6)
    fit(run, lora(), lr_scheduler_type="constant", max_steps=12, save_steps=2, resume=True)


@configuration("three batches of new data with cumulative max_steps and ignore_data_skip")
def three_batches(run: str) -> None:
    for number, steps in enumerate((6, 12, 18)):
        fit(
            run,
            lora(),
            data=rows(24, seed=number),
            resume=number > 0,
            max_steps=steps,
            lr_scheduler_type="constant",
            ignore_data_skip=True,
            save_total_limit=3,
        )


@configuration("stopped and resumed twice in its first epoch, while the loss falls", sample=True)
def falling(run: str) -> None:
    for last, limit in ((20, 6), (40, 7), (60, 8)):
        fit(
            run,
            llama(),
            data=rows(480),
            resume=last > 20,
            max_steps=60,
            save_steps=10,
            save_total_limit=limit,
            learning_rate=4e-3,
            callbacks=[stop_after(last)],
        )


@configuration("three batches of unlike size through this backend, a cosine schedule over all of them")
def three_legs(run: str) -> None:
    from audit.backend.training import LegData, LegRequest
    from audit_hf_trainer.training.leg import train

    last = 0
    for number, count in enumerate((24, 40, 28)):
        path = data_file(f"{run}-{number}.jsonl", [row["input_ids"] for row in rows(count, seed=number)])
        request = LegRequest(
            run,
            f"{run}/checkpoint-{last}" if last else None,
            last,
            last + count // 4,
            LegData(path),
            {
                "model": {"random": {"vocab_size": VOCABULARY}},
                "adapter": {"r": 4, "lora_dropout": 0.1},
                "arguments": {"per_device_train_batch_size": 4, "save_steps": 3, "lr_scheduler_type": "cosine"},
            },
            horizon=40,
        )
        last = train(request, lambda event: None).last_step
        os.unlink(path)


def stop_after(step: int) -> Any:
    """A callback that ends the training as a signal would, with the schedule of the whole run."""
    import transformers

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
            control.should_training_stop = state.global_step >= step
            return control

    return Stop()
