"""Trainings in processes of their own: one, or two under torchrun.

    python trained_elsewhere.py KIND RUN STEPS

KIND is "plain" (no callback), "audited" (with the callback), "poisoned" (NaN at step 3, callback), "slow" (as audited,
process 1 takes its time before it writes its random state), "fsdp 1" or "fsdp 2" (audited, shards of that version; goes
on from what is there). A process writes how it ended to RUN.<rank>.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ROOT = HERE.parents[3]


def start(kind: str, run: Path, steps: int, processes: int = 1) -> "subprocess.Popen[str]":
    """Start a training that saves at every step and keeps two checkpoints."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    paths = [str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.Popen(
        [sys.executable, *launcher, str(HERE), kind, str(run), str(steps)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _train(kind: str, run: str, steps: int) -> None:
    import transformers

    from audit_hf_trainer import AuditCallback
    from tests.backends.hf_trainer.fitting import fit, llama, lora

    rank = os.environ.get("RANK", "0")

    class Poison(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **unused: Any) -> None:
            if state.global_step == 3:
                for name, values in model.named_parameters():
                    if "lora_B" in name:
                        values.data.fill_(float("nan"))

    if kind == "slow" and rank == "1":
        save = transformers.Trainer._save_rng_state

        def late(self: Any, output_dir: str) -> None:
            time.sleep(0.05)
            save(self, output_dir)

        transformers.Trainer._save_rng_state = late
    callbacks = {"plain": [], "poisoned": [Poison(), AuditCallback()]}.get(kind, [AuditCallback()])
    distributed: dict[str, Any] = (
        {"ddp_backend": "gloo", "ddp_find_unused_parameters": False} if "RANK" in os.environ else {}
    )
    resume = None
    if kind.startswith("fsdp"):
        from tests.backends.hf_trainer.fsdp_on_cpu import ARGUMENTS, allow_fsdp_on_cpu, allow_version_1

        allow_fsdp_on_cpu()
        allow_version_1()
        config = {**ARGUMENTS["fsdp_config"], "version": int(kind[-1]), "sync_module_states": False}
        distributed = {**ARGUMENTS, "fsdp_config": config}
        resume = os.path.isdir(run)
    ended = "whole"
    try:
        fit(
            run,
            lora() if resume is None else llama(),
            resume=resume,
            callbacks=callbacks,
            max_steps=steps,
            save_steps=1,
            save_total_limit=2,
            lr_scheduler_type="constant",
            **distributed,
        )
    except Exception as error:
        ended = type(error).__name__
        raise
    finally:
        Path(f"{run}.{rank}").write_text(ended)
        if distributed:
            import torch

            if ended == "whole":  # else the first to leave breaks the connection that the other is closing
                torch.distributed.barrier()
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    _train(sys.argv[1], sys.argv[2], int(sys.argv[3]))
