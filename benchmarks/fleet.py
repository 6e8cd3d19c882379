"""Make a tree of very many tiny runs, and measure what auditing it costs.

    python benchmarks/fleet.py make TREE [--runs 2000]
    python benchmarks/fleet.py measure TREE [--rounds 3] [--depth quick] [--engines local]
    python benchmarks/fleet.py again TREE

``make`` copies runs of two checkpoints (16 files, 60 kB) that are as transformers 5 writes them, an hour old; of every
fifty one has no optimizer. ``measure`` audits the tree with each engine, and beside it, in the same round, by one
``audit verify`` of as many runs as fit into its arguments; it prints processor time (user and system, of the command
and of all processes that it waited for) and the peak of memory of the driver and of the largest other process.
``again`` audits the tree twice, with ten runs changed in between.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from speed import HOME, environment_of

HOUR = 3600
AT_ONCE = 500
"""Runs of one ``audit verify``."""

PROGRAM = """
import gc, json, resource, sys, time
gc.disable()  # as the command does
begin = time.time()
from audit.cli import run
code = run(sys.argv[1:])
def used(who):
    found = resource.getrusage(who)
    return [found.ru_utime + found.ru_stime, found.ru_maxrss / 1024]
end = [code, time.time() - begin, *used(resource.RUSAGE_SELF), *used(resource.RUSAGE_CHILDREN)]
print(json.dumps(end), file=sys.stderr)
"""


def make(tree: str, count: int) -> None:
    """Write ``count`` runs of seven owners."""
    from audit.testing.runs import make_run

    then = time.time() - HOUR
    with tempfile.TemporaryDirectory() as home:
        seeds = [make_run(os.path.join(home, str(seed)), (100, 200), rank=2, layers=1, seed=seed) for seed in range(8)]
        for number in range(count):
            run = os.path.join(tree, f"owner-{number % 7}", f"sweep-{number // 100:04}", f"run-{number:06}")
            shutil.copytree(seeds[number % len(seeds)], run)
            if number % 50 == 49:
                os.unlink(os.path.join(run, "checkpoint-200", "optimizer.pt"))
            for place, _, names in os.walk(run, topdown=False):
                for name in ("", *names):
                    os.utime(os.path.join(place, name), (then, then))


def runs_of(tree: str) -> list[str]:
    """The runs of the tree."""
    return sorted(place for place, names, _ in os.walk(tree) if any(name.startswith("checkpoint-") for name in names))


def measured(words: list[str], environment: dict[str, str]) -> tuple[int, float, float, float, float, float]:
    """Run a command; return code, seconds, processor time and peak MiB of itself, and the same of its children."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=HOME,
        check=False,
        text=True,
    )
    found = json.loads(done.stderr.splitlines()[-1])
    if found[0] not in (0, 1):
        raise RuntimeError(done.stderr)
    return (*found,)


def measure(tree: str, rounds: int, depth: str, engines: list[str], workers: int, environment: dict[str, str]) -> None:
    """Print a row for each engine, and one for ``audit verify``."""
    runs = runs_of(tree)
    few = runs[:AT_ONCE]
    rows: dict[str, list[tuple[float, ...]]] = {}
    print(f"{len(runs)} runs, depth {depth}, {workers} workers, {rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory() as home:
        for number in range(rounds):
            words = ["verify", *few, "--depth", depth, "--no-ledger", "--jobs", "1", "-q"]
            rows.setdefault("audit verify", []).append(_row(measured(words, environment), len(few)))
            for engine in engines:
                out = os.path.join(home, f"{engine}-{number}")
                words = [
                    "fleet",
                    tree,
                    "-o",
                    out,
                    "--depth",
                    depth,
                    "--engine",
                    engine,
                    "--workers",
                    str(workers),
                    "-q",
                ]
                rows.setdefault(f"audit fleet --engine {engine}", []).append(
                    _row(measured(words, environment), len(runs))
                )
    base = statistics.median(row[0] for row in rows["audit verify"])
    print("| command | processor ms a run | least | to verify | seconds | driver MiB | other MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in rows.items():
        middle = [statistics.median(column) for column in zip(*found, strict=True)]
        least = min(row[0] for row in found)
        shown = f"{middle[0]:.1f} | {least:.1f} | {middle[0] / base:.2f} | {middle[1]:.1f} | {middle[2]:.0f} | {middle[3]:.0f}"
        print(f"| {name} | {shown} |", flush=True)


def _row(found: tuple[int, float, float, float, float, float], runs: int) -> tuple[float, float, float, float]:
    _, seconds, own, own_peak, others, others_peak = found
    return (own + others) * 1000 / runs, seconds, own_peak, others_peak


def again(tree: str, workers: int, environment: dict[str, str]) -> None:
    """Print what a first pass, one over an unchanged tree, and one with ten changed runs cost."""
    runs = runs_of(tree)
    print("| pass | seconds | processor s | ms a run | driver MiB | other MiB |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as home:
        words = ["fleet", tree, "-o", os.path.join(home, "fleet"), "--workers", str(workers), "-q"]
        for name in ("first", "unchanged", "ten changed"):
            if name == "ten changed":
                then = time.time() - HOUR / 2
                for run in runs[:: max(1, len(runs) // 10)][:10]:
                    os.utime(os.path.join(run, "checkpoint-200", "trainer_state.json"), (then, then))
            _, seconds, own, own_peak, others, others_peak = measured(words, environment)
            used = own + others
            each = used * 1000 / len(runs)
            print(
                f"| {name} | {seconds:.1f} | {used:.1f} | {each:.2f} | {own_peak:.0f} | {others_peak:.0f} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="measure what auditing very many tiny runs costs")
    parser.add_argument("what", choices=["make", "measure", "again"])
    parser.add_argument("tree")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", choices=["quick", "full"], default="quick")
    parser.add_argument("--engines", nargs="+", default=["local"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--code", metavar="CHECKOUT", help="measure this checkout instead of what is installed")
    args = parser.parse_args()
    environment = environment_of(args.code)
    args.tree = os.path.abspath(args.tree)
    if args.what == "make":
        make(args.tree, args.runs)
    elif args.what == "measure":
        measure(args.tree, args.rounds, args.depth, args.engines, args.workers, environment)
    else:
        again(args.tree, args.workers, environment)


if __name__ == "__main__":
    main()
