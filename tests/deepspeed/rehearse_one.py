"""One of two processes that train with DeepSpeed ZeRO on the CPU and rehearse that, started by torchrun.

``rehearse_one.py HOME NAME[:SPOILT] ... -- ARGUMENTS`` of ``train_one.py``: trains HOME/run once, then rehearses it for
each name, and writes HOME/NAME.json. ``SPOILT`` is one of :data:`SPOILING`, done after DeepSpeed has loaded.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from audit_hf_trainer import rehearse
from tests.backends.hf_trainer.rehearsed_sharded import spoilt, told
from tests.deepspeed.train_one import arguments_in, make

CHECKPOINT, AFTER = 5, 3


def _masters(trainer: Any) -> Any:
    optimizer = trainer.model_wrapped.optimizer
    found = getattr(optimizer, "single_partition_of_fp32_groups", None)
    return optimizer.fp32_partitioned_groups_flat if found is None else found


def scale_moments(trainer: Any) -> None:
    """Halve the first moments that the second process holds."""
    for entry in trainer.model_wrapped.optimizer.optimizer.state.values():
        if trainer.args.process_index == 1:
            entry["exp_avg"].mul_(0.5)


def random_weights(trainer: Any) -> None:
    """Make a piece of the second process's weights random, which the first update writes into the model."""
    if trainer.args.process_index == 1:
        _masters(trainer)[0].data[:8].normal_(0.0, 0.02)


def other_shard(trainer: Any) -> None:
    """Give the first process the second moments of another checkpoint."""
    if trainer.args.process_index:
        return
    home = os.path.join(os.path.dirname(trainer.resumed), "checkpoint-10")
    with open(os.path.join(home, "latest"), encoding="utf-8") as file:
        tag = os.path.join(home, file.read())
    (name,) = (item for item in os.listdir(tag) if "zero_pp_rank_0" in item and item.endswith("_optim_states.pt"))
    saved = torch.load(os.path.join(tag, name), weights_only=False)["optimizer_state_dict"]
    inner = saved.get("base_optimizer_state") or saved["optimizer_state_dict"]
    for number, master in enumerate(_masters(trainer)):
        own = trainer.model_wrapped.optimizer.optimizer.state[master]["exp_avg_sq"]
        own.copy_(inner["state"][number]["exp_avg_sq"])


def module_alone(trainer: Any) -> None:
    """Change what the first step computes with, in the first process; the partitions stay as they are."""
    if trainer.args.process_index == 0:
        with torch.no_grad():
            parameter = next(item for item in trainer.model_wrapped.module.parameters() if item.requires_grad)
            held = getattr(parameter, "ds_tensor", parameter)
            held.data.reshape(-1)[:4].mul_(1.5)


SPOILING: dict[str, Callable[[Any], None]] = {
    item.__name__: item for item in (scale_moments, random_weights, other_shard, module_alone)
}


def main(home: str, asked: list[tuple[str, str]], arguments: list[str]) -> None:
    """Train once, rehearse as often as is asked for."""
    if not os.path.isdir(f"{home}/run"):
        make(arguments_in([f"{home}/run", "--steps", "10", *arguments])).train()
    for name, spoil in asked:

        def again(spoil: str = spoil) -> Any:
            trainer = make(arguments_in([f"{home}/elsewhere", "--steps", "10", *arguments]))
            return spoilt(trainer, SPOILING[spoil]) if spoil else trainer

        found = rehearse(again, f"{home}/run", checkpoint=CHECKPOINT, steps=AFTER, exact=True)
        if os.environ["RANK"] == "0":
            with open(f"{home}/{name}.json", "w", encoding="utf-8") as file:
                json.dump(told(found), file)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    cut = sys.argv.index("--")
    main(
        sys.argv[1],
        [(name, spoil) for name, _, spoil in (a.partition(":") for a in sys.argv[2:cut])],
        sys.argv[cut + 1 :],
    )
