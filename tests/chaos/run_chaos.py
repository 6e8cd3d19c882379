"""Crash a Trainer at every file event of a save and see what each way to resume makes of it; writes docs/chaos.md.

``tox run -e chaos`` calls this. The injector, the runner and the verdicts are those of ckpt-chaos 0.1.8; the training
script is trainee.py beside this file.
"""

import argparse
import contextlib
import functools
import importlib
import io
import json
import multiprocessing
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
FORKS = multiprocessing.get_context("forkserver")
ENVIRONMENT = {
    "CKPT_CHAOS_TORN_PYTHON": "1",  # files that Python writes, JSON above all, are cut in half, too
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(HERE),
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Way(NamedTuple):
    """One way to find the checkpoint to resume from: as RESUME_BY and RESUME_AFTER of trainee.py say it."""

    by: str
    after: int
    words: str


WAYS = {
    "stock": Way("stock", 0, "`resume_from_checkpoint=True`"),
    "skip": Way("skip", 0, "the usual patch: skip what has no readable `trainer_state.json`"),
    "guard": Way("guard", 0, "`audit.guard(run)`, at once"),
    "guard-later": Way("guard", 600, "`audit.guard(run)`, ten minutes later"),
    "exact": Way("exact", 0, "`audit.guard(run, exact=True)`, at once"),
    "exact-later": Way("exact", 600, "`audit.guard(run, exact=True)`, ten minutes later"),
}
TAG = re.compile(r"^global_step\d+(?=/)")
TRIES = 4
VERDICTS = ("PASS", "HARD_FAIL", "SILENT_DIVERGENCE", "LOST_WORK")


class Setup(NamedTuple):
    """What is trained: ``ranks`` processes, and who divides the state among them, as SHARDED of trainee.py says it."""

    ranks: int
    sharded: str
    words: str


SETUPS = {
    "1": Setup(1, "", "LoRA, 1 rank"),
    "2": Setup(2, "", "LoRA, 2 ranks"),
    "fsdp": Setup(2, "fsdp", "FSDP, 2 ranks"),
    "zero2": Setup(2, "zero2", "DeepSpeed ZeRO 2, 2 ranks"),
    "zero3": Setup(2, "zero3", "DeepSpeed ZeRO 3, 2 ranks"),
}


class Matrix(NamedTuple):
    """One way to resume in one setup: ckpt-chaos's rows, the control left out."""

    way: str
    setup: Setup
    rows: list[Any]

    @property
    def verdicts(self) -> Counter[str]:
        return Counter(row.verdict for row in self.rows)


def crash(way: str, setup: Setup, work: Path, jobs: int = 2) -> Matrix:
    """Kill a save at every file event, resume each time, judge. Raises RuntimeError where no crash was tested.

    What ``work`` has of a run that came to its end is judged and not run again.
    """
    from ckpt_chaos import runner

    ended = work / "ended"
    if ended.exists():
        rows = runner.rejudge(work)
    else:
        shutil.rmtree(work, ignore_errors=True)
        runner._launch, runner._profile, runner._is_complete = launch, profile, is_complete
        os.environ.update(RESUME_BY=WAYS[way].by, RESUME_AFTER=str(WAYS[way].after), SHARDED=setup.sharded)
        real = runner._run_point
        runner._run_point = functools.partial(where_it_should, real)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                rows = runner.run_matrix(work, jobs, setup.ranks)
        finally:
            runner._run_point = real
    control, points = rows[0], rows[1:]
    if control.verdict != "PASS" or not points:
        raise RuntimeError(f"the control run, with no crash in it: {control.verdict}; see the logs in {work}")
    if any(row.drift or not row.crashed for row in points):
        raise RuntimeError(f"a run did not die where it should have; see the logs in {work}")
    ended.touch()
    return Matrix(way, setup, points)


def where_it_should(run_point: Callable[..., Any], config: dict[str, Any], order: int, point: Any) -> Any:
    """Kill at a point; again if another event came there, as of two ranks the one that is late makes no directory."""
    found = run_point(config, order, point)
    for _ in range(TRIES):
        if not found["drift"]:
            break
        rank, number, mode = point
        shutil.rmtree(config["work"] / f"pt_r{rank}_{number}_{mode}")
        found = run_point(config, order, point)
    return found


def profile(checkpoint: Path) -> dict[str, int]:
    """The files of a complete checkpoint and their sizes, in its directories, too, where ckpt-chaos does not look."""
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in checkpoint.rglob("*") if path.is_file()}


def is_complete(checkpoint: Path, healthy: dict[str, int]) -> bool:
    """Whether a checkpoint has all files of a complete one: JSON must parse, others have their size (as ckpt-chaos)."""
    found = profile(checkpoint)
    try:
        for name in healthy:
            if name.endswith(".json"):
                json.loads((checkpoint / name).read_text())
    except (OSError, ValueError):
        return False
    return all(found.get(name) == size for name, size in healthy.items() if not name.endswith(".json"))


def launch(
    target: str, phase: str, out: Path, extra: dict[str, str] | None = None, ranks: int = 1, timeout: int = 240
) -> int:
    """Do what ckpt-chaos's own launcher does, in processes that have imported torch already: seconds less for each."""
    from ckpt_chaos.runner import PEER_GRACE_S, _free_port

    out.parent.mkdir(parents=True, exist_ok=True)
    group = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    processes = []
    for rank in range(ranks):
        own = {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
        environment = {**os.environ, **(extra or {}), **own}
        log = out.parent / f"{phase}_rank{rank}.log"
        processes.append(FORKS.Process(target=train, args=(phase, str(out), environment, str(log))))
        processes[-1].start()
    deadline = time.monotonic() + timeout
    while any(process.exitcode is None for process in processes) and time.monotonic() < deadline:
        if any(process.exitcode for process in processes):
            deadline = min(deadline, time.monotonic() + PEER_GRACE_S)
        time.sleep(0.05)
    for process in processes:
        if process.exitcode is None:
            process.kill()
        process.join()
    return next((process.exitcode for process in processes if process.exitcode), 0)


def train(phase: str, out: str, environment: dict[str, str], log: str) -> None:
    """One rank, in a process of its own."""
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    trainee = importlib.import_module("trainee")  # beside this file, in PYTHONPATH

    sys.exit(trainee.main(phase, out))


def page(matrices: list[Matrix], command: str) -> str:
    """Return docs/chaos.md."""
    packages = ("ckpt-chaos", "torch", "transformers", "peft", "accelerate", "deepspeed")
    lines = [
        "# Killed at every file event of a save",
        "",
        *textwrap.wrap(
            f"Written by `{command}`; do not edit. A Trainer with a tiny LoRA model and dropout, or a tiny whole model whose "
            "state FSDP or DeepSpeed saves in shards, is killed while it saves `checkpoint-10` (`checkpoint-5` exists): "
            "before each file event, and once more with each file cut to half its length. Then it resumes, and its final "
            "weights are compared, bit by bit, with those of a run that was never killed. Injector, runner and verdicts are "
            "those of [ckpt-chaos](https://pypi.org/project/ckpt-chaos/). Of two ranks, each is killed once.",
            120,
            break_long_words=False,
            break_on_hyphens=False,
        ),
        "",
        "| resumes by | trains | kills | "
        + " | ".join(verdict.lower().replace("_", " ") for verdict in VERDICTS)
        + " |",
        "| --- | --- | --- | " + " | ".join("---" for _ in VERDICTS) + " |",
        *(
            f"| {WAYS[item.way].words} | {item.setup.words} | {len(item.rows)} | "
            + " | ".join(str(item.verdicts[verdict]) for verdict in VERDICTS)
            + " |"
            for item in matrices
        ),
        "",
        "* **hard fail**: the resume raised; somebody has to clean up by hand.",
        "* **silent divergence**: it resumed, and the weights differ from those of the undisturbed run.",
        "* **lost work**: it resumed from a checkpoint older than the newest complete one.",
        "",
        "A checkpoint that lacks only the random number state of one rank can be resumed from, but not bit for bit. While the",
        "save may still be running, the guard skips it; a minute later it hands it out with a warning, unless `exact` is set.",
        "",
        "## Every kill",
        "",
        *_details(matrices),
        "## Machine",
        "",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, CPU only (gloo);\n"
        + ", ".join(f"{name} {version(name)}" for name in packages if find_spec(name.replace("-", "_")))
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _details(matrices: list[Matrix]) -> list[str]:
    lines = []
    for setup in dict.fromkeys(item.setup for item in matrices):
        chosen = [item for item in matrices if item.setup == setup]
        counts = Counter(row.label for row in chosen[0].rows)
        lines += [f"### {setup.words}", ""]
        lines += ["| killed at | " + " | ".join(item.way for item in chosen) + " |"]
        lines += ["| --- | " + " | ".join("---" for _ in chosen) + " |"]
        for label in dict.fromkeys(row.label for item in chosen for row in item.rows):
            times = f" ({counts[label]} times)" if counts[label] > 1 else ""
            cells = (dict.fromkeys(_result(row) for row in item.rows if row.label == label) for item in chosen)
            lines.append(f"| `{label}`{times} | " + " | ".join("; ".join(cell) for cell in cells) + " |")
        lines.append("")
    return lines


def _result(row: Any) -> str:
    outcome = row.outcome
    if outcome.raised:
        return str(outcome.raised)
    verdict = "" if row.verdict == "PASS" else f", **{row.verdict.lower().replace('_', ' ')}**"
    return f"from step {outcome.resumed_from_step}{verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument(
        "--train", nargs="+", choices=tuple(SETUPS), default=tuple(SETUPS), help="ranks, or what shards the state"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, help="keep runs and logs in this directory, and go on where it ended")
    parser.add_argument("--output", type=Path, help="where to write the page (default: stdout)")
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    FORKS.set_forkserver_preload(["trainee"])
    with tempfile.TemporaryDirectory() as scratch:
        work = (arguments.work or Path(scratch)).resolve()
        matrices = []
        for name in arguments.train:
            for way in arguments.by:
                matrices.append(crash(way, SETUPS[name], work / f"{way}-{name}", arguments.jobs))
                sys.stderr.write(f"{way}, {SETUPS[name].words}: {dict(matrices[-1].verdicts)}\n")
                sys.stderr.flush()
    given = "" if arguments.train == tuple(SETUPS) else f" -- --train {' '.join(arguments.train)}"
    text = page(matrices, f"tox run -e chaos{given}")
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    exact = [item for item in matrices if WAYS[item.way].by == "exact"]
    return int(any(item.verdicts["PASS"] != len(item.rows) for item in exact))


if __name__ == "__main__":
    sys.exit(main())
