"""One of two processes that train with FSDP on the CPU and rehearse that, started by torchrun."""

import json
import os
import sys
from typing import Any

import torch

from audit_hf_trainer import rehearse
from tests.backends.hf_trainer.fitting import fit, llama, made
from tests.backends.hf_trainer.fsdp_on_cpu import ARGUMENTS, allow_fsdp_on_cpu

MORE: dict[str, Any] = {**ARGUMENTS, "max_steps": 9, "save_steps": 3}

if __name__ == "__main__":
    allow_fsdp_on_cpu()
    home, moments = sys.argv[1:]
    if not os.path.isdir(f"{home}/run"):
        fit(f"{home}/run", llama(), **MORE)
    found = rehearse(
        lambda: made(f"{home}/elsewhere", llama(), **MORE), f"{home}/run", checkpoint=3, steps=4, exact=True
    )
    if os.environ["RANK"] == "0":
        missed = {part.part: part.missed for part in found.rehearsal.restored}
        first = [list(item[:2]) for item in found.judgement.differences[:1]]
        with open(f"{home}/{moments}.json", "w", encoding="utf-8") as file:
            json.dump({"same": found.same, "steps": found.judgement.steps, "missed": missed, "first": first}, file)
    torch.distributed.destroy_process_group()  # else gloo's threads abort the process at its end
