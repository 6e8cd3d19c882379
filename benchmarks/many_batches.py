"""What does `audit train` cost over one Trainer? Twenty batches of five steps beside one training of a hundred steps.

Both train the same model on the same examples, and save after each five steps; in turn, as processes of their own with
their start. Each saved checkpoint of `audit train` is proven and sealed before the next batch begins.

    python benchmarks/many_batches.py                        # a model of 0.1 million parameters: next to no training
    python benchmarks/many_batches.py --hidden 512 --length 256   # half a second a step
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAINER = """
import json, sys
from pathlib import Path
import peft, torch, transformers
home, hidden, save_steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rows = [json.loads(line)["input_ids"] for path in sorted((home / "data").iterdir()) for line in path.open()]
transformers.set_seed(42)
model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
    hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2, num_attention_heads=4, vocab_size=128,
    max_position_embeddings=512))
model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.1))
trainer = transformers.Trainer(
    model=model,
    args=transformers.TrainingArguments(
        str(home / "run"), max_steps=len(rows) // 4, save_steps=save_steps, save_total_limit=3, logging_steps=1,
        per_device_train_batch_size=4, lr_scheduler_type="constant", learning_rate=0.01, report_to="none",
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False),
    train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    data_collator=lambda batch: {name: torch.tensor([row[name] for row in batch]) for name in batch[0]},
)
trainer.remove_callback(transformers.PrinterCallback)
trainer.train()
"""
CONFIG = """run = "run"
[data]
inbox = "data"
[model.random]
hidden_size = {hidden}
intermediate_size = {inner}
max_position_embeddings = 512
[adapter]
r = 4
lora_dropout = 0.1
[arguments]
per_device_train_batch_size = 4
save_total_limit = 3
learning_rate = 0.01
[watch]
settle-seconds = 0
"""


def make(home: Path, args: argparse.Namespace) -> None:
    """Write the data files and the configuration."""
    (home / "data").mkdir(parents=True)
    chance = random.Random(1)
    for number in range(args.batches):
        rows = [[number, row, *(chance.randrange(96) for _ in range(args.length - 2))] for row in range(4 * args.steps)]
        (home / "data" / f"{number:03}.jsonl").write_text(
            "".join(json.dumps({"input_ids": row}) + "\n" for row in rows)
        )
    (home / "train.toml").write_text(CONFIG.format(hidden=args.hidden, inner=2 * args.hidden))


def measured(command: list[str]) -> tuple[float, float]:
    """Run to the end; return seconds on the clock, and of the processor over all its processes."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begin, processor


def main() -> None:
    parser = argparse.ArgumentParser(description="audit train over many small batches, beside one Trainer")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--length", type=int, default=32, help="tokens of an example")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"load average at the beginning {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    found: dict[str, list[tuple[float, float]]] = {"one Trainer": [], "audit train": []}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as place:
            for name, values in found.items():
                home = Path(place) / name.replace(" ", "-")
                make(home, args)
                python = [sys.executable, "-c", TRAINER, str(home), str(args.hidden), str(args.steps)]
                ours = [sys.executable, "-m", "audit", "train", str(home / "train.toml")]
                values.append(measured(python if name == "one Trainer" else ours))
    for index, what in enumerate(("on the clock", "of the processor")):
        for name, values in found.items():
            print(f"{name}: {statistics.median(value[index] for value in values):.1f} s {what}")
        ratios = sorted(ours[index] / plain[index] for plain, ours in zip(*found.values(), strict=True))
        print(f"ratio {what}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
