"""What AuditCallback costs at each save: the time of the save itself, and of the callback after it.

    python benchmarks/callback_cost.py [--hidden 64] [--layers 2] [--saves 12] [--limit 2] [--dir DIRECTORY]

Trains a Llama of that size, whole, with AdamW, on the CPU, saves at every step, and prints the medians and the largest
of all saves but the first two: bytes of a checkpoint, seconds of Trainer's own save (rotation included), seconds of the
callback. Fine-tuning a whole model makes an optimizer state of twice the weights.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from audit_hf_trainer import AuditCallback


def train(run: str, hidden: int, layers: int, saves: int, limit: int) -> tuple[list[float], list[float]]:
    """Train and return the seconds of each save and of the callback after it."""
    saving: list[float] = []
    auditing: list[float] = []
    shape = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_attention_heads": 4}
    config = transformers.LlamaConfig(**shape, num_hidden_layers=layers, vocab_size=1024, max_position_embeddings=32)

    class Timed(transformers.Trainer):
        def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
            begin = time.perf_counter()
            super()._save_checkpoint(*arguments, **options)
            saving.append(time.perf_counter() - begin)

    class TimedCallback(AuditCallback):
        def on_save(self, *arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            control = super().on_save(*arguments, **options)
            auditing.append(time.perf_counter() - begin)
            return control

    rows = [{"input_ids": [n % 1000, n + 1, n + 2], "labels": [n % 1000, n + 1, n + 2]} for n in range(64)]
    trainer = Timed(
        model=transformers.LlamaForCausalLM(config),
        args=transformers.TrainingArguments(
            run,
            max_steps=saves,
            save_steps=1,
            logging_steps=1,
            save_total_limit=limit,
            per_device_train_batch_size=1,
            lr_scheduler_type="constant",
            learning_rate=1e-4,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=rows,
        data_collator=lambda batch: {name: torch.tensor([row[name] for row in batch]) for name in batch[0]},
        callbacks=[TimedCallback()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return saving, auditing


def main() -> None:
    parser = argparse.ArgumentParser(description="time the callback at each save")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--saves", type=int, default=12)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--dir", help="where to write; by default a directory for temporary files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as home:
        saving, auditing = train(home, args.hidden, args.layers, args.saves, args.limit)
        newest = max(Path(home).glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
        sizes = {path.name: path.stat().st_size for path in newest.iterdir()}
    print(f"checkpoint {sum(sizes.values()) / 1e6:.1f} MB, optimizer.pt {sizes['optimizer.pt'] / 1e6:.1f} MB")
    for name, seconds in (("Trainer's save", saving), ("the callback", auditing)):
        late = seconds[2:]
        print(f"{name}: first {seconds[0]:.3f} s, then median {statistics.median(late):.3f} s, most {max(late):.3f} s")


if __name__ == "__main__":
    main()
