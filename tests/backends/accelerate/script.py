"""Train a small model as the no_trainer examples of accelerate do: script.py RUN STEP,STEP... [CHECKPOINT]

Prints a digest of the weights at the end.
"""

import os
import sys
from hashlib import sha256

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

run, steps = sys.argv[1], [int(step) for step in sys.argv[2].split(",")]
resume_from = sys.argv[3] if len(sys.argv) > 3 else None

set_seed(7)
accelerator = Accelerator(cpu=True)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 100))
examples = torch.utils.data.TensorDataset(torch.randn(400, 8), torch.randn(400, 1))
loader = torch.utils.data.DataLoader(examples, batch_size=4)
model, optimizer, scheduler, loader = accelerator.prepare(model, optimizer, scheduler, loader)
done = 0
if resume_from:
    accelerator.load_state(resume_from)
    done = int(resume_from.rpartition("_")[2])
for inputs, targets in accelerator.skip_first_batches(loader, done):
    loss = ((model(inputs) - targets) ** 2).mean()
    accelerator.backward(loss)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    done += 1
    if done in steps:
        accelerator.save_state(os.path.join(run, f"step_{done}"))
    if done == max(steps):
        break
weights = b"".join(value.detach().numpy().tobytes() for value in accelerator.unwrap_model(model).state_dict().values())
sys.stdout.write(sha256(weights).hexdigest())
