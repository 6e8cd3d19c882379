"""Runs of two processes: started by torchrun, each a script of its own."""

import os
import subprocess
import sys

from tests.backends.hf_trainer.fitting import fit, llama, lora
from tests.backends.hf_trainer.fsdp_on_cpu import ARGUMENTS, allow_fsdp_on_cpu
from tests.backends.hf_trainer.resumed_runs import stop_after
from tests.backends.hf_trainer.table import configuration


@configuration("LoRA in two processes (DDP over gloo)")
def ddp(run: str) -> None:
    launch("lora", run)


@configuration("full fine-tune in two processes (DDP over gloo)")
def ddp_full(run: str) -> None:
    launch("full", run)


@configuration("fully sharded data parallel, sharded state, two processes")
def fsdp_sharded(run: str) -> None:
    launch("fsdp_sharded", run)


@configuration("fully sharded data parallel, sharded state, bf16")
def fsdp_sharded_bf16(run: str) -> None:
    launch("fsdp_sharded_bf16", run)


@configuration("fully sharded data parallel, sharded state, LoRA")
def fsdp_sharded_lora(run: str) -> None:
    launch("fsdp_sharded_lora", run)


@configuration("fully sharded data parallel, sharded state, resumed by two processes")
def fsdp_sharded_resumed(run: str) -> None:
    launch("fsdp_sharded", run, 6)
    launch("fsdp_sharded", run)


@configuration("fully sharded data parallel, sharded state of two processes, resumed by one")
def fsdp_sharded_shrunk(run: str) -> None:
    launch("fsdp_sharded", run, 6)
    launch("fsdp_sharded", run, processes=1)


@configuration("fully sharded data parallel, full state, two processes")
def fsdp_full(run: str) -> None:
    launch("fsdp_full", run)


def launch(kind: str, run: str, stop_at: int = 9, processes: int = 2) -> None:
    """Train up to step ``stop_at`` of 9, from the newest checkpoint if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    paths = [root, os.path.join(root, "backends")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [*launcher, __file__, kind, run, str(stop_at)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"torchrun {kind} failed:\n{done.stderr[-4000:]}")


def _rank(kind: str, run: str, stop_at: str) -> None:
    """Train as one of the processes."""
    import torch

    if kind in ("lora", "full"):
        fit(run, lora() if kind == "lora" else llama(), ddp_backend="gloo", ddp_find_unused_parameters=False)
    else:
        allow_fsdp_on_cpu()
        arguments = ARGUMENTS
        if kind == "fsdp_full":
            arguments = {**ARGUMENTS, "fsdp_config": {**ARGUMENTS["fsdp_config"], "state_dict_type": "FULL_STATE_DICT"}}
        fit(
            run,
            lora() if kind.endswith("lora") else llama(),
            bf16=kind.endswith("bf16"),
            resume=os.path.isdir(run) or None,
            callbacks=[stop_after(int(stop_at))],
            **arguments,
        )
    torch.distributed.destroy_process_group()  # else gloo's threads abort the process at its end


if __name__ == "__main__":
    _rank(*sys.argv[1:])
