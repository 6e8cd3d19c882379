"""The demo: train a tiny LoRA model in batches, verify it, break copies of it, show what is found."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

from audit.audit_dir import PINNED
from audit.errors import AuditError
from audit.formats.damage import Damage
from audit.formats.torch_archive import read_torch
from audit.judging.decision import Decision
from audit.judging.guard import consult
from audit.judging.verification import verify_report as verify
from audit.manager import Registry
from audit.report import Report
from audit.storage import LocalStorage
from audit.training.config import read_train_config
from audit.training.events import Emit
from audit.training.loop import train
from audit.training.process import here

BATCHES = 3
STEPS = 40
SAVE_STEPS = 20
BATCH_SIZE = 4
VOCABULARY = 64
CONFIG = f"""\
run = "current_model"
seed = 7

[data]
inbox = "inbox"

[model.random]               # a tiny Llama with random weights; name_or_path would be a real one
vocab_size = {VOCABULARY}

[adapter]
r = 4
lora_alpha = 8
lora_dropout = 0.05
target_modules = ["q_proj", "v_proj"]
modules_to_save = ["lm_head"]  # with random weights only a trained output layer has anything to learn

[arguments]
per_device_train_batch_size = {BATCH_SIZE}
learning_rate = 5e-3
logging_steps = 5
save_steps = {SAVE_STEPS}
save_total_limit = 3

[watch]
settle-seconds = 0
"""

SHOWN = "current_model"
"""What the demo calls the run, wherever it is."""


class Breakage(NamedTuple):
    """One way to break a checkpoint, what Trainer would do with it, and what the audit says."""

    title: str
    trainer: str
    report: Report
    decision: Decision


def train_batches(home: str, registry: Registry, emit: Emit) -> str:
    """Drop three data files into ``home/inbox``, train them with ``audit train`` and return the run.

    Raises AuditError if a library is missing.
    """
    os.makedirs(os.path.join(home, "inbox"))
    for number in range(1, BATCHES + 1):
        with open(os.path.join(home, "inbox", f"batch_{number:03}.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"input_ids": row}) + "\n" for row in _examples(number))
    path = os.path.join(home, "train.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONFIG)
    config, trainer = read_train_config(path, registry)
    train(config, trainer, registry, emit, run_leg=here)  # libraries are loaded once, not once a batch
    return config.run


def break_copies(run: str, scratch: str, registry: Registry) -> Iterator[Breakage]:
    """Break a copy of the run in several ways, one at a time, and verify it; the run itself is not changed."""
    newest = verify(run, registry=registry).checkpoints[-1].name
    older = verify(run, registry=registry).checkpoints[-2].name
    for number, (title, trainer, damage) in enumerate(_damages()):
        copy = os.path.join(scratch, f"broken-{number + 1}")
        shutil.copytree(run, copy)
        _share(run, copy, newest)
        damage(os.path.join(copy, newest), os.path.join(copy, older))
        report = verify(copy, registry=registry)
        report = report._replace(notes=tuple(note.replace(copy, SHOWN) for note in report.notes))
        decision, _ = consult(copy, registry=registry)
        yield Breakage(title.format(newest=newest, older=older), trainer, report, decision)


def _share(run: str, copy: str, name: str) -> None:
    """Make the pin of a copied run hard links to its checkpoint, as in the run itself."""
    pinned = os.path.join(copy, PINNED, name)
    if not os.path.isdir(pinned):
        return
    for file in os.listdir(pinned):
        if os.path.samefile(os.path.join(run, name, file), os.path.join(run, PINNED, name, file)):
            os.unlink(os.path.join(pinned, file))
            os.link(os.path.join(copy, name, file), os.path.join(pinned, file))


def _damages() -> list[tuple[str, str, Callable[[str, str], None]]]:
    """Title, what Trainer 5.23 does with it, and the damage itself (newest and older checkpoint directory)."""

    def remove(newest: str, older: str) -> None:
        os.unlink(os.path.join(newest, "scheduler.pt"))

    def swap(newest: str, older: str) -> None:
        shutil.copyfile(os.path.join(older, "optimizer.pt"), os.path.join(newest, "optimizer.pt"))

    def cut(newest: str, older: str) -> None:
        path = os.path.join(newest, "adapter_model.safetensors")
        os.truncate(path, os.path.getsize(path) // 2)

    def flip(newest: str, older: str) -> None:
        path = os.path.join(newest, "optimizer.pt")
        place = _inside_a_moment(path)
        with open(path, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 0x10]))

    return [
        ("scheduler.pt deleted from {newest}", "resumes silently: optimizer and schedule start again", remove),
        ("optimizer.pt of {older} copied into {newest}", "resumes silently with the wrong moments", swap),
        ("adapter weights of {newest} cut in half", "crashes, and does not fall back to an older one", cut),
        ("one bit flipped in optimizer.pt of {newest}", "resumes silently: nothing checks the archive's CRC", flip),
    ]


def _inside_a_moment(path: str) -> int:
    """Offset of a byte in the middle of the largest tensor of a torch archive."""
    with LocalStorage(os.path.dirname(path)).open(os.path.basename(path)) as reader:
        archive = read_torch(reader)
    if isinstance(archive, Damage):
        raise AuditError(f"{path} {archive.message}")
    largest = max(archive.records.values(), key=lambda record: record.size)
    return largest.offset + largest.size // 2


def _examples(batch: int) -> list[list[int]]:
    """Rows of token ids that a tiny model can learn: counting upwards with a stride."""
    random_source = random.Random(batch)
    rows = []
    for _ in range(STEPS * BATCH_SIZE):
        start, stride = random_source.randrange(VOCABULARY), random_source.choice((1, 2, 3))
        rows.append([(start + stride * position) % VOCABULARY for position in range(12)])
    return rows
