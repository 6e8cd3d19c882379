"""``audit merge`` beside peft's ``merge_and_unload``: bits that differ, seconds of clock and processor, peak memory.

    python benchmarks/merge.py /tmp/merge                 # a model of 0.5 GB in bfloat16, 3 rounds
    python benchmarks/merge.py /tmp/merge32 --dtype float32 --layers 4 --dora

The base has random weights and shards of 100 MB; its adapter is trained for two steps by Trainer. In each round both
programs merge the same checkpoint, one right after the other, each as a process of its own with its start-up; peft's
ends with ``save_pretrained`` (the same shards), ours with the proof. Peak memory is the kernel's (``ru_maxrss``).
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEFT = """
import sys, transformers, peft
transformers.utils.logging.set_verbosity_error()
base, checkpoint, out = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
peft.PeftModel.from_pretrained(model, checkpoint).merge_and_unload().save_pretrained(out, max_shard_size="100MB")
"""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make(home, dtype, layers, rank, dora):
    """Write the base and train the run, unless they are there."""
    if (home / "run" / "checkpoint-2").exists():
        return
    import peft
    import torch
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=4, vocab_size=32000, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(home / "base", max_shard_size="100MB")
    settings = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=TARGETS, use_dora=dora, task_type="CAUSAL_LM"
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(home / "run"), max_steps=2, save_steps=2, per_device_train_batch_size=1, learning_rate=1e-2,
        use_cpu=True, report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    rows = [{"input_ids": list(range(i, i + 8)), "labels": list(range(i, i + 8))} for i in range(4)]
    trained = peft.get_peft_model(model, settings)
    transformers.Trainer(model=trained, args=arguments, train_dataset=rows).train()


def run(command):
    """Return seconds of the clock, seconds of the processor and peak MiB of a process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def compare(one, other):
    """Return how many values are different, and how many there are."""
    import numpy as np

    from audit.formats.safetensors import read_safetensors
    from audit.storage import LocalStorage

    def tensors(path):
        storage = LocalStorage(str(path))
        for name in sorted(os.listdir(path)):
            if name.endswith(".safetensors"):
                with storage.open(name) as reader:
                    for tensor in read_safetensors(reader).tensors.values():
                        yield tensor.name, (name, tensor)

    mine, theirs = dict(tensors(one)), dict(tensors(other))
    if mine.keys() != theirs.keys():
        sys.exit("the models have different tensors")
    wrong = total = 0
    for name, (file, tensor) in mine.items():
        values = []
        for path, (at, item) in ((one, (file, tensor)), (other, theirs[name])):
            with LocalStorage(str(path)).open(at) as reader:
                values.append(
                    np.frombuffer(reader.read(item.offset, item.nbytes), "<u4" if item.dtype == "F32" else "<u2")
                )
        wrong += int((values[0] != values[1]).sum())
        total += len(values[0])
    return wrong, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--layers", type=int, default=13)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dora", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.home.mkdir(parents=True, exist_ok=True)
    # In a process of its own: what this one has had in memory would count as the peak of those that it starts.
    maker = multiprocessing.get_context("spawn").Process(
        target=make, args=(given.home, given.dtype, given.layers, given.rank, given.dora)
    )
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit("the run could not be made")
    base, checkpoint = str(given.home / "base"), str(given.home / "run" / "checkpoint-2")
    size = sum(path.stat().st_size for path in (given.home / "base").glob("*.safetensors"))
    outs = {"peft": given.home / "peft", "audit merge": given.home / "merged"}
    commands = {
        "peft": [sys.executable, "-c", PEFT, base, checkpoint, str(outs["peft"])],
        "audit merge": [
            sys.executable, "-m", "audit", "merge", str(given.home / "run"), str(outs["audit merge"]), "--base", base
        ],
    }  # fmt: skip
    found = {name: [] for name in commands}
    for _ in range(given.rounds):
        for name, command in commands.items():
            shutil.rmtree(outs[name], ignore_errors=True)
            found[name].append(run(command))
    wrong, total = compare(outs["audit merge"], outs["peft"])
    print(f"{size / 1e6:.0f} MB {given.dtype}, rank {given.rank}{', DoRA' if given.dora else ''}: ", end="")
    print(f"{wrong} of {total} values differ")
    print("| | clock, s, median (least) | processor, s, median (least) | peak MiB |\n| --- | --- | --- | --- |")
    for name, runs in found.items():
        *times, memory = zip(*runs, strict=True)
        shown = " | ".join(f"{statistics.median(each):.1f} ({min(each):.1f})" for each in times)
        print(f"| {name} | {shown} | {max(memory):.0f} |")
    for column, what in enumerate(("clock", "processor")):
        pairs = [
            ours[column] / theirs[column] for ours, theirs in zip(found["audit merge"], found["peft"], strict=True)
        ]
        print(f"{what}, audit merge over peft, median of the pairs: {statistics.median(pairs):.2f}")


if __name__ == "__main__":
    main()
