"""One of two processes that train with FSDP on the CPU and rehearse that, started by torchrun.

``rehearsed_sharded.py HOME KIND NAME [SPOILT]``: trains HOME/run once, and writes HOME/NAME.json. ``KIND`` is a key of
:data:`KINDS`; ``SPOILT`` one of :data:`SPOILING`, which is done after Trainer has loaded the checkpoint.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import transformers

from audit_hf_trainer import rehearse
from audit_hf_trainer.training.restored import compare_state, merged
from tests.backends.hf_trainer.fitting import llama, lora, made
from tests.backends.hf_trainer.fsdp_on_cpu import ARGUMENTS, allow_fsdp_on_cpu, allow_version_1

STEPS: dict[str, Any] = {"max_steps": 9, "save_steps": 3}


def configured(**fields: Any) -> dict[str, Any]:
    """The arguments, with other fields of ``fsdp_config``."""
    return {**ARGUMENTS, **STEPS, "fsdp_config": {**ARGUMENTS["fsdp_config"], **fields}}


def tied() -> Any:
    """Make a model whose output layer is its embedding."""
    return llama(tie_word_embeddings=True)


def frozen() -> Any:
    """Make a model of which the first layer is not trained."""
    model = llama()
    model.model.layers[0].requires_grad_(False)
    return model


KINDS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "sharded": (llama, configured()),
    "bf16": (llama, {**configured(), "bf16": True}),
    "lora": (lora, configured()),
    "full state": (llama, configured(state_dict_type="FULL_STATE_DICT")),
    "lora, full state": (lora, configured(state_dict_type="FULL_STATE_DICT")),
    "version 1": (llama, configured(version=1, sync_module_states=False)),
    "version 1, flat": (llama, configured(version=1, sync_module_states=False, use_orig_params=False)),
    "tied weights": (tied, configured()),
    "frozen layers": (frozen, configured()),
    "activation checkpointing": (llama, configured(activation_checkpointing=True)),
    "SGD": (llama, {**configured(), "optim": "sgd", "optim_args": "momentum=0.9"}),
}


def first_local(tensor: Any) -> Any:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def scale_moments(trainer: Any) -> None:
    """Halve the first moments that the second process holds."""
    for entry in trainer.optimizer.state.values():
        if "exp_avg" in entry and trainer.args.process_index == 1:
            first_local(entry["exp_avg"]).mul_(0.5)


def other_shard(trainer: Any) -> None:
    """Give the second process the moments of another checkpoint alone."""
    from accelerate.utils import load_fsdp_optimizer

    kept = [first_local(entry["exp_avg_sq"]).clone() for entry in trainer.optimizer.state.values()]
    accelerator = trainer.accelerator
    path = os.path.join(os.path.dirname(trainer.resumed), "checkpoint-6")
    load_fsdp_optimizer(accelerator.state.fsdp_plugin, accelerator, trainer.optimizer, trainer.model, path)
    if trainer.args.process_index == 0:
        for entry, own in zip(trainer.optimizer.state.values(), kept, strict=True):
            first_local(entry["exp_avg_sq"]).copy_(own)


def random_weights(trainer: Any) -> None:
    """Make one parameter random in the second process."""
    parameter = next(item for item in trainer.model.parameters() if item.requires_grad)
    if trainer.args.process_index == 1:
        with torch.no_grad():
            first_local(parameter).normal_(0.0, 0.02)


def one_bit(trainer: Any) -> None:
    """Change the last element that the first process holds of the last parameter by one unit."""
    parameter = [item for item in trainer.model.parameters() if item.requires_grad][-1]
    if trainer.args.process_index == 0:
        with torch.no_grad():
            flat = first_local(parameter).reshape(-1)
            flat[-1:] = torch.nextafter(flat[-1:], torch.full((1,), 9.0))


def new_rate(trainer: Any) -> None:
    """Set another rate in the first group, in every process."""
    trainer.optimizer.param_groups[0]["lr"] *= 2


def no_optimizer(trainer: Any) -> None:
    """Forget the optimizer's state."""
    getattr(trainer.optimizer, "optimizer", trainer.optimizer).state.clear()


SPOILING: dict[str, Callable[[Any], None]] = {
    item.__name__: item for item in (scale_moments, other_shard, random_weights, one_bit, new_rate, no_optimizer)
}


def spoilt(trainer: Any, spoil: Callable[[Any], None]) -> Any:
    """Have what was loaded spoilt after the load."""

    class Spoilt(type(trainer)):  # type: ignore[misc]  # the class of a trainer that is made
        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None:
                self.resumed = checkpoint
                spoil(self)

    trainer.__class__ = Spoilt
    return trainer


class SavedIsHeld(transformers.TrainerCallback):
    """After each save: compares what is held with what was saved, and keeps what was found."""

    trainer: Any = None

    def __init__(self) -> None:
        self.found: list[list[list[Any]]] = []

    def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        torch.distributed.barrier()  # no process has saved all of it alone
        path = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        parts: list[Any] = [None] * args.world_size
        torch.distributed.all_gather_object(parts, compare_state(self.trainer, path))
        self.found.append([list(merged(of_one, divided=True)) for of_one in zip(*parts, strict=True)])


def told(found: Any) -> dict[str, Any]:
    """What a test wants to know of a report."""
    parts = {part.part: part for part in found.rehearsal.restored}
    return {
        "same": found.same,
        "steps": found.judgement.steps,
        "missed": {name: part.missed for name, part in parts.items()},
        "values": {name: part.values for name, part in parts.items()},
        "different": {name: [part.different, part.first] for name, part in parts.items() if part.different},
        "largest": {name: part.largest for name, part in parts.items() if part.different},
        "differences": [list(item[:2]) for item in found.judgement.differences],
        "text": str(found),
    }


def main(home: str, kind: str, asked: list[tuple[str, str]]) -> None:
    """Train once; rehearse as each of ``asked`` (name, what is spoilt) says."""
    allow_fsdp_on_cpu()
    allow_version_1()
    model, arguments = KINDS[kind]
    if not os.path.isdir(f"{home}/run"):
        saved = SavedIsHeld()
        trainer = saved.trainer = made(f"{home}/run", model(), callbacks=[saved], **arguments)
        trainer.train()
        if os.environ["RANK"] == "0":
            with open(f"{home}/saved.json", "w", encoding="utf-8") as file:
                json.dump(saved.found, file)
    for name, spoil in asked:

        def make(spoil: str = spoil) -> Any:
            trainer = made(f"{home}/elsewhere", model(), **arguments)
            return spoilt(trainer, SPOILING[spoil]) if spoil else trainer

        found = rehearse(make, f"{home}/run", checkpoint=3, steps=4, exact=True)
        if os.environ["RANK"] == "0":
            with open(f"{home}/{name}.json", "w", encoding="utf-8") as file:
                json.dump(told(found), file)
    torch.distributed.destroy_process_group()  # else gloo's threads abort the process at its end


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [(item.partition(":")[0], item.partition(":")[2]) for item in sys.argv[3:]])
