"""Where a real resume is not the straight training, bit for bit, a rule says so; where it is, none does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

import transformers

import audit
from audit_hf_trainer import straight_against_resumed
from tests.backends.hf_trainer.fitting import gpt2, libraries_hush, lora, made, rows
from tests.backends.hf_trainer.letters import VOCABULARY, letters

pytestmark = pytest.mark.slow

LAST = 40
"""Training is interrupted: the schedule is longer than what is trained."""


def stream() -> Any:
    """A data set of 6 steps that has no length."""
    import datasets

    return datasets.Dataset.from_list(rows()).to_iterable_dataset()


def of_trainer(**arguments: Any) -> Callable[[str], Any]:
    """Make what makes a Trainer of 6 steps an epoch."""

    def make(home: str) -> Any:
        data = arguments["data"]() if "data" in arguments else None
        return made(home, lora(), **{"max_steps": LAST, "save_steps": 1, **arguments, "data": data})

    return make


def of_trl(kind: str, count: int = 32, **arguments: Any) -> Callable[[str], Any]:
    """Make what makes a trainer of trl, of so many rows."""

    def make(home: str) -> Any:
        datasets = pytest.importorskip("datasets")
        trl = pytest.importorskip("trl", reason="the extra trl is not installed")
        words = [["the", "he", "a", "tree", "bird"][number % 5] * (1 + number % 3) for number in range(count)]
        rows_of = {
            "DPO": [{"prompt": word, "chosen": f" {word}", "rejected": f" not {word}"} for word in words],
            "GRPO": [{"prompt": word} for word in words],
        }
        more: dict[str, Any] = {"DPO": {"ref_model": gpt2(vocab_size=VOCABULARY)}, "GRPO": {"reward_funcs": by_length}}[
            kind
        ]
        fields = {
            "output_dir": home, "report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False,
            "per_device_train_batch_size": 4, "learning_rate": 1e-3, "max_steps": LAST, "save_steps": 1,
            "logging_steps": 1, **({"max_completion_length": 4, "num_generations": 2} if kind == "GRPO" else {}),
        }  # fmt: skip
        with libraries_hush():
            return getattr(trl, f"{kind}Trainer")(
                model=gpt2(vocab_size=VOCABULARY),
                args=getattr(trl, f"{kind}Config")(**{**fields, **arguments}),
                train_dataset=datasets.Dataset.from_list(rows_of[kind]),
                processing_class=letters(),
                **more,
            )

    return make


def by_length(completions: list[str], **unused: Any) -> list[float]:
    return [float(len(text) % 7) for text in completions]


class Until(transformers.TrainerCallback):
    """Ends a training after a step, which is saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        control.should_training_stop = state.global_step == self.step


NOT_SEEDED = {"accelerator_config": {"use_seedable_sampler": False}}
DISPATCHED = {"accelerator_config": {"dispatch_batches": True}}
ORDER, STATE = ["resume/data-order"], ["resume/unsaved-state"]
CASES: dict[str, tuple[Callable[[str], Any], int, list[str]]] = {
    "plain, second epoch": (of_trainer(), 8, []),
    "by length, first epoch": (of_trainer(train_sampling_strategy="group_by_length"), 5, []),
    "by length, end of an epoch": (of_trainer(train_sampling_strategy="group_by_length"), 6, []),
    "by length, second epoch": (of_trainer(train_sampling_strategy="group_by_length"), 8, ORDER),
    "no seed, first epoch": (of_trainer(**NOT_SEEDED), 5, []),
    "no seed, second epoch": (of_trainer(**NOT_SEEDED), 8, ORDER),
    "no seed, in order": (of_trainer(**NOT_SEEDED, train_sampling_strategy="sequential"), 8, []),
    "dispatched, first epoch": (of_trainer(**DISPATCHED), 5, []),
    "dispatched, end of an epoch": (of_trainer(**DISPATCHED), 6, []),
    "dispatched, second epoch": (of_trainer(**DISPATCHED), 8, ORDER),
    "dispatched, in order": (of_trainer(**DISPATCHED, train_sampling_strategy="sequential"), 8, []),
    "stream, first pass": (of_trainer(data=stream), 5, []),
    "stream, end of a pass": (of_trainer(data=stream), 12, []),
    "stream, second pass": (of_trainer(data=stream), 8, ORDER),
    "reference model, before it follows": (of_trl("DPO", sync_ref_model=True, ref_model_sync_steps=3), 2, []),
    "reference model": (of_trl("DPO", sync_ref_model=True, ref_model_sync_steps=3), 4, STATE),
    "completions, all trained on": (of_trl("GRPO", steps_per_generation=4), 4, []),
    "completions, some left": (of_trl("GRPO", steps_per_generation=4), 3, STATE),
    "prompts, first epoch": (of_trl("GRPO", 8, steps_per_generation=1), 3, []),
    "prompts, end of an epoch": (of_trl("GRPO", 8, steps_per_generation=1), 4, ORDER),
    "prompts, second epoch": (of_trl("GRPO", 8, steps_per_generation=1), 6, ORDER),
    "prompts, in order": (of_trl("GRPO", 8, steps_per_generation=1, shuffle_dataset=False), 6, []),
    "completions, twice": (of_trl("GRPO", num_iterations=2), 3, STATE),
}


@pytest.mark.parametrize(("make", "at", "rules"), CASES.values(), ids=CASES)
def test_the_rules_say_what_a_resume_does(
    make: Callable[[str], Any], at: int, rules: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trainer = make(str(run))
    trainer.add_callback(Until(at))
    with libraries_hush():
        trainer.train()
    report = audit.verify(str(run), audit.Options(settle_seconds=0))
    newest = f"checkpoint-{at}"

    assert (report.verdict, report.resume_from) == ("sound", newest)
    assert [item.rule for item in report.findings if item.checkpoint == newest] == rules
    resumed = straight_against_resumed(
        lambda: make(str(tmp_path / "x")), at + 2, at, callbacks=["SyncRefModelCallback"]
    )
    assert resumed.judgement.bit_for_bit is not bool(rules), str(resumed)
