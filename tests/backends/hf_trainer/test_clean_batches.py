"""What `audit train` leaves, under every schedule that batches may have, gives the rules nothing to say."""

import json
import os
from pathlib import Path

import pytest

from audit import cli
from audit.api import verify
from audit.findings import Severity
from audit.options import Options

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

CONFIG = """
run = "run"
[data]
inbox = "inbox"
epochs = {epochs}
[model]
random = {{ hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, num_attention_heads = 2 }}
[adapter]
r = 4
target_modules = ["q_proj", "v_proj"]
[arguments]
use_cpu = true
per_device_train_batch_size = 4
learning_rate = 0.01
save_steps = 7
{arguments}
{schedule}
"""
DECAY = 'lr_scheduler_type = "warmup_stable_decay"\nwarmup_steps = 3'
SCHEDULES = {
    "constant": ("save_total_limit = 2", "", 1),
    "warm-up": ("warmup_steps = 12", "", 3),
    "inverse square root": ('lr_scheduler_type = "inverse_sqrt"\nwarmup_steps = 5', "", 1),
    "linear": ('lr_scheduler_type = "linear"\nwarmup_steps = 5', "[schedule]\ntotal_steps = 100", 2),
    "cosine": ('lr_scheduler_type = "cosine"\nsave_total_limit = 3', "[schedule]\ntotal_steps = 100", 1),
    "plateau and decay": (DECAY, "[schedule]\ndecay_steps = 4", 1),
}


def drop(home: Path, name: str, rows: int) -> None:
    text = "".join(json.dumps({"input_ids": [(3 * n + i) % 120 + 1 for i in range(8)]}) + "\n" for n in range(rows))
    (home / "inbox" / name).write_text(text, encoding="utf-8")


def serious(run: Path) -> list[str]:
    report = verify(str(run), Options(settle_seconds=0))
    return [f"{item.rule}: {item.message}" for item in report.findings if item.severity is not Severity.INFO]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_batches_under_every_schedule_are_sound(schedule: str, tmp_path: Path) -> None:
    arguments, table, epochs = SCHEDULES[schedule]
    (tmp_path / "inbox").mkdir()
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.format(arguments=arguments, schedule=table, epochs=epochs), encoding="utf-8")
    for number, rows in enumerate((22, 31, 3)):
        drop(tmp_path, f"{number}.jsonl", rows)

    assert cli.run(["train", str(config), "--quiet"]) == 0
    assert serious(tmp_path / "run") == []

    newest = max((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    os.truncate(newest / "optimizer.pt", 100)  # a step back, and the rest of that batch once more
    drop(tmp_path, "last.jsonl", 26)
    last = ["--decay"] if "decay" in table else []
    assert cli.run(["train", str(config), "--quiet", *last]) == 0
    assert serious(tmp_path / "run") == []
