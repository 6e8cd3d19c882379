"""What a rehearsal costs against a plain resume of as many steps, each in a process of its own.

    python benchmarks/rehearsal.py [--hidden 64] [--layers 2] [--steps 5] [--repeat 5] [--dir DIRECTORY]

Trains a LoRA adapter on a Llama of that size for 20 steps with `audit train` on the CPU, saved every 10. Then, in turn:
`audit train`'s own process resumes from checkpoint-10 in a copy of the run and trains so many steps; the same process
rehearses as many steps from there. Prints medians of wall seconds and of processor seconds of the process, the median
of the ratios of each pair, and the seconds until what was restored was compared.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audit.backend.rehearsal import RehearsalRequest
from audit.manager import load
from audit.training.batch_log import BatchLog
from audit.training.config import read_train_config
from audit.training.loop import train
from audit.training.rehearsal_draft import draft
from audit.training.training_process import TrainingProcess

STEP = 10
CONFIG = """\
run = "run"
[data]
inbox = "inbox"
[model.random]
hidden_size = {hidden}
intermediate_size = {inner}
num_hidden_layers = {layers}
vocab_size = 1024
[adapter]
r = 8
lora_dropout = 0.05
target_modules = "all-linear"
[arguments]
per_device_train_batch_size = 4
save_steps = 10
[watch]
settle-seconds = 0
"""


def timed(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall seconds, processor seconds of the child processes, and the result."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = act()
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--dir")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory(dir=given.dir) as home:
        measure(Path(home), given)


def measure(home: Path, given: argparse.Namespace) -> None:
    (home / "inbox").mkdir()
    chance = random.Random(0)
    rows = ([chance.randrange(1024) for _ in range(64)] for _ in range(80))
    (home / "inbox" / "a.jsonl").write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
    text = CONFIG.format(hidden=given.hidden, inner=4 * given.hidden, layers=given.layers)
    (home / "train.toml").write_text(text)
    registry = load()
    config, trainer = read_train_config(str(home / "train.toml"), registry)
    assert train(config, trainer, registry, lambda event: None) == 0
    timeline = BatchLog(config.run).timeline()
    pairs, restored = [], []
    for number in range(given.repeat):
        copy = home / f"copy-{number}"
        shutil.copytree(home / "run" / f"checkpoint-{STEP}", copy / f"checkpoint-{STEP}")
        scratch = home / f"scratch-{number}"
        scratch.mkdir()
        request = draft(config, trainer, timeline, str(copy / f"checkpoint-{STEP}"), STEP, str(scratch)).request
        leg = request._replace(run=str(copy), last_step=STEP + given.steps)

        def resume(leg: Any = leg) -> None:
            process = TrainingProcess(log=str(home / "log"))
            process.leg(trainer, leg, lambda event: None)
            process.kill()

        def rehearse(request: Any = request) -> Any:
            process = TrainingProcess(log=str(home / "log"))
            found = process.rehearse(trainer, RehearsalRequest(request, given.steps), lambda event: None)
            process.kill()
            return found

        plain = timed(resume)
        again = timed(rehearse)
        pairs.append((plain, again))
        restored.append(again[2].restore_seconds)
    for name, place in (("wall", 0), ("processor", 1)):
        plain_s = statistics.median(pair[0][place] for pair in pairs)
        again_s = statistics.median(pair[1][place] for pair in pairs)
        ratio = statistics.median(pair[1][place] / pair[0][place] for pair in pairs)
        print(f"{name}: resume {plain_s:.2f} s, rehearsal {again_s:.2f} s, ratio {ratio:.2f}")
    print(f"restored and compared after {statistics.median(restored):.2f} s")


if __name__ == "__main__":
    main()
