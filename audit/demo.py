"""The demonstration: train a tiny LoRA model in batches, verify it, break copies of it, show what is found."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

from audit.api import consult, verify
from audit.backend import Backend
from audit.legs import LegRequest
from audit.decision import Decision
from audit.errors import AuditError
from audit.formats.damage import Damage
from audit.formats.torch_archive import read_torch
from audit.manager import Registry
from audit.report import Report
from audit.storage import LocalStorage

BATCHES = 3
STEPS = 40
SAVE_STEPS = 20
BATCH_SIZE = 4
VOCABULARY = 64


class Batch(NamedTuple):
    """One trained batch and the judgement after it."""

    number: int
    first_step: int
    last_step: int
    first_loss: float
    last_loss: float
    report: Report


class Breakage(NamedTuple):
    """One way to break a checkpoint, what Trainer would do with it, and what the audit says."""

    title: str
    trainer: str
    report: Report
    decision: Decision


def train_batches(run: str, backend: Backend, registry: Registry) -> Iterator[Batch]:
    """Train three batches into ``run``, each resuming from the newest checkpoint, and verify after each."""
    resume: str | None = None
    for number in range(1, BATCHES + 1):
        result = backend.train(
            LegRequest(
                run=run,
                resume_from=resume,
                max_steps=number * STEPS,
                examples=_examples(number),
                arguments={
                    "per_device_train_batch_size": BATCH_SIZE,
                    "learning_rate": 5e-3,
                    "lr_scheduler_type": "constant",
                    "logging_steps": 5,
                    "save_steps": SAVE_STEPS,
                    "save_total_limit": 3,
                },
                # The base has random weights: only with a trained output layer is there anything to learn.
                adapter={
                    "r": 4,
                    "lora_alpha": 8,
                    "lora_dropout": 0.05,
                    "target_modules": ["q_proj", "v_proj"],
                    "modules_to_save": ["lm_head"],
                },
                model={"vocab_size": VOCABULARY},
                seed=7,
            )
        )
        report = verify(run, registry=registry)
        resume = os.path.join(run, report.resume_from) if report.resume_from else None
        yield Batch(number, result.first_step, result.last_step, result.losses[0][1], result.losses[-1][1], report)


def break_copies(run: str, scratch: str, registry: Registry) -> Iterator[Breakage]:
    """Break a copy of the run in several ways, one at a time, and verify it; the run itself stays as it is."""
    newest = verify(run, registry=registry).checkpoints[-1].name
    older = verify(run, registry=registry).checkpoints[-2].name
    for number, (title, trainer, damage) in enumerate(_damages()):
        copy = os.path.join(scratch, f"broken-{number + 1}")
        shutil.copytree(run, copy)
        damage(os.path.join(copy, newest), os.path.join(copy, older))
        decision, report = consult(copy, registry=registry)
        yield Breakage(title.format(newest=newest, older=older), trainer, report, decision)


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
