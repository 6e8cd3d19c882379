"""Train with Lightning on a CPU: script.py ROOT EPOCHS INTERVAL [CHECKPOINT [KILL_AT]]; print a digest of the weights.

``CHECKPOINT`` "" starts fresh; at step ``KILL_AT`` the process kills itself.
"""

import hashlib
import os
import signal
import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")

import lightning  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402

ROOT, EPOCHS, INTERVAL = sys.argv[1], int(sys.argv[2]), sys.argv[3]
CHECKPOINT = sys.argv[4] if len(sys.argv) > 4 else ""
KILL_AT = int(sys.argv[5]) if len(sys.argv) > 5 else 0


class Config:
    """Hyper-parameters of a class of one's own, which Lightning pickles."""

    width = 16


class Module(lightning.LightningModule):
    """Ten steps for each epoch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(8, config.width), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def training_step(self, batch: Any, number: int) -> Any:
        if self.global_step == KILL_AT > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return ((self.net(batch[0]) - batch[1]) ** 2).mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.95)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": INTERVAL}}


torch.manual_seed(0)
rows = torch.randn(80, 8)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, rows.sum(1, keepdim=True)), batch_size=8)
module = Module(Config())
trainer = lightning.Trainer(
    max_epochs=EPOCHS,
    accelerator="cpu",
    default_root_dir=ROOT,
    logger=False,
    callbacks=[ModelCheckpoint(ROOT, save_top_k=-1, save_last=True)],
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, data, ckpt_path=CHECKPOINT or None, weights_only=False)
weights = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
sys.stdout.write(f"{hashlib.sha256(weights).hexdigest()}\n")
