"""Train with a strategy of Lightning that saves shards, two processes on a CPU: ROOT EPOCHS STRATEGY [CHECKPOINT].

Prints a digest of the weights of process 0. Lightning refuses a CPU for FSDP and DeepSpeed by the type of the strategy;
torch and DeepSpeed themselves do not.
"""

import hashlib
import os
import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")

import lightning  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy  # noqa: E402

ROOT, EPOCHS, STRATEGY = sys.argv[1], int(sys.argv[2]), sys.argv[3]
CHECKPOINT = sys.argv[4] if len(sys.argv) > 4 else ""
WORLD = 2


class OnCPU(FSDPStrategy):
    """FSDP without a GPU."""


class EngineOnCPU(DeepSpeedStrategy):
    """DeepSpeed without a GPU: the engine is made by Lightning, and its processes are joined by Lightning, too."""

    @property
    def root_device(self) -> Any:
        return torch.device("cpu", 0)  # Lightning gives the engine its number

    def setup_environment(self) -> None:
        super(DeepSpeedStrategy, self).setup_environment()

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        self._init_deepspeed_distributed()


class Module(lightning.LightningModule):
    """Ten steps for each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.net: Any = None

    def configure_model(self) -> None:
        if self.net is not None:
            return
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        if STRATEGY == "fsdp":
            from torch.distributed.fsdp import FullyShardedDataParallel

            cpu = torch.device("cpu")
            for place in (0, 2):
                self.net[place] = FullyShardedDataParallel(self.net[place], device_id=cpu, use_orig_params=True)
            self.net = FullyShardedDataParallel(self.net, device_id=cpu, use_orig_params=True)
        elif STRATEGY == "model_parallel":
            from torch.distributed.fsdp import fully_shard

            mesh = self.device_mesh["data_parallel"]
            for place in (0, 2):
                fully_shard(self.net[place], mesh=mesh)
            fully_shard(self.net, mesh=mesh)

    def training_step(self, batch: Any, number: int) -> Any:
        return ((self.net(batch[0]) - batch[1]) ** 2).mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.95)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


torch.manual_seed(0)
rows = torch.randn(80, 8)
rows = torch.utils.data.TensorDataset(rows, rows.sum(1, keepdim=True).repeat(1, 2))
data = torch.utils.data.DataLoader(rows, batch_size=8 // WORLD)
strategy: Any
if STRATEGY == "fsdp":
    strategy = OnCPU(state_dict_type="sharded", process_group_backend="gloo")
elif STRATEGY == "model_parallel":
    strategy = ModelParallelStrategy(data_parallel_size=WORLD, tensor_parallel_size=1, process_group_backend="gloo")
else:
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # An operator that is only faster; it would be compiled, which takes minutes.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    strategy = EngineOnCPU(stage=int(STRATEGY[-1]), process_group_backend="gloo")
module = Module()
trainer = lightning.Trainer(
    max_epochs=EPOCHS,
    accelerator="cpu",
    devices=WORLD,
    strategy=strategy,
    default_root_dir=ROOT,
    logger=False,
    callbacks=[ModelCheckpoint(ROOT, save_top_k=-1, save_last=True)],
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, data, ckpt_path=CHECKPOINT or None, weights_only=False)
parts = [value.to_local() if hasattr(value, "to_local") else value for value in module.parameters()]
digest = hashlib.sha256(b"".join(value.detach().numpy().tobytes() for value in parts)).hexdigest()
if trainer.global_rank == 0:
    sys.stdout.write(f"digest {digest}\n")
