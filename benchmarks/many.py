"""Make a run of very many small checkpoints, and measure what judging it costs.

    python benchmarks/many.py make RUN [--checkpoints 20000] [--log-entries 100]
    python benchmarks/many.py measure RUN [--code CHECKOUT] [--depth quick]
    python benchmarks/many.py slope [--code CHECKOUT] [--depth quick]

``make`` writes checkpoints as transformers 5 writes them for a LoRA adapter of one layer, each with its own state,
optimizer, scheduler, adapter, arguments and random numbers, an hour old. ``measure`` runs ``audit verify`` and
``audit guard`` in processes of their own and prints the processor time and the peak of memory of each. ``slope``
makes runs of 500 and 1000 checkpoints and prints what one checkpoint more costs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from speed import AUDIT, HOME, environment_of

HOUR = 3600


def make(run: str, count: int, entries: int) -> None:
    """Write ``count`` checkpoints whose logs have up to ``entries`` entries."""
    from audit.testing.runs import make_run

    make_run(
        run, range(1, count + 1), layers=1, save_steps=1, logging_steps=max(1, count // entries), max_steps=2 * count
    )
    then = time.time() - HOUR  # older than any save that goes on
    for place, _, names in os.walk(run, topdown=False):
        for name in ("", *names):
            os.utime(os.path.join(place, name), (then, then))


def measured(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    """Run a command; return its processor time in seconds, the peak of its memory in MiB and its exit code."""
    child = subprocess.Popen(
        [sys.executable, "-c", AUDIT, *command], stdout=subprocess.DEVNULL, env=environment, cwd=HOME
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, child.returncode


def commands(run: str, depth: str | None) -> list[list[str]]:
    """The commands that are measured, in this order: without a ledger, with one, and unchanged after it."""
    depths = [depth] if depth is not None else ["quick", "full"]
    bare = ["verify", run, "--no-ledger"]
    found = [[*bare, "--depth", each] for each in depths]
    if depth != "quick":
        found += [["verify", run], ["verify", run], ["guard", run]]
    return [*found, ["guard", run, "--depth", "quick", "--no-ledger"]]


def main() -> None:
    parser = argparse.ArgumentParser(description="measure what very many small checkpoints cost")
    parser.add_argument("what", choices=["make", "measure", "slope"])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--checkpoints", type=int, default=20_000)
    parser.add_argument("--log-entries", type=int, default=100)
    parser.add_argument("--code", metavar="CHECKOUT", help="measure this checkout instead of what is installed")
    parser.add_argument("--depth", choices=["quick", "full"])
    args = parser.parse_args()
    if args.what != "slope" and args.run is None:
        parser.error("name the run")
    if args.what == "make":
        make(args.run, args.checkpoints, args.log_entries)
        return
    environment = environment_of(args.code)
    if args.what == "measure":
        shutil.rmtree(os.path.join(args.run, ".audit"), ignore_errors=True)
        print("| command | processor s | peak MiB | exit |\n| --- | --- | --- | --- |")
        for command in commands(args.run, args.depth):
            seconds, peak, code = measured(command, environment)
            shown = " ".join(command).replace(args.run, "RUN")
            print(f"| audit {shown} | {seconds:.1f} | {peak:.0f} | {code} |", flush=True)
        return
    with tempfile.TemporaryDirectory() as home:
        runs = [os.path.join(home, str(count)) for count in (500, 1000)]
        for run, count in zip(runs, (500, 1000), strict=True):
            make(run, count, args.log_entries)
        print("| command | ms for one more | kB for one more |\n| --- | --- | --- |")
        for few, many in zip(*(commands(run, args.depth) for run in runs), strict=True):
            (less, small, _), (more, large, _) = measured(few, environment), measured(many, environment)
            shown = " ".join(few).replace(runs[0], "RUN")
            print(f"| audit {shown} | {(more - less) * 2:.2f} | {(large - small) * 1024 / 500:.1f} |", flush=True)


if __name__ == "__main__":
    main()
