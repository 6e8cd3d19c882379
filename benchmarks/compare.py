"""Time `audit verify` beside what else reads the same bytes, interleaved, whole processes with their start-up.

    python benchmarks/compare.py TREE [--rounds 7] [--only NAME ...]

Every command runs right after a `cat` of the same files, and its ratio is to that very `cat`, so that a machine that is
slow for a while is slow for both. The tree is sealed first: what stands in TREE/.audit may be removed afterwards.
Prints medians, and the highest memory of any process of a command. The files
are read once before, so all figures are of a warm page cache.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BLAKE3 = "import sys; from blake3 import blake3; [print(blake3().update_mmap(p).hexdigest(), p) for p in sys.argv[1:]]"
ZIPFILE = 'for f; do case $f in *.pt|*.pth|*.bin) "$0" -m zipfile -t "$f" || exit;; esac; done'


def commands(tree: str, files: list[str]) -> dict[str, list[str]]:
    """Return what is compared, by name."""
    python = sys.executable
    verify = [python, "-m", "audit", "verify", tree, "--no-ledger", "--no-cache"]
    guard = [python, "-m", "audit", "guard", tree]
    return {
        "cat": ["cat", *files],
        "audit verify": verify,
        "audit verify --depth quick": [*verify, "--depth", "quick"],
        "audit verify --jobs 1": [*verify, "--jobs", "1"],
        "audit verify, sealed": [python, "-m", "audit", "verify", tree],
        "audit guard, sealed": guard,
        "scan alone": [python, os.path.join(HERE, "scan_tree.py"), tree],
        "scan alone, no digest": [python, os.path.join(HERE, "scan_tree.py"), tree, "--no-digest"],
        "python blake3, mapped": [python, "-c", BLAKE3, *files],
        "python -m zipfile -t": ["sh", "-c", ZIPFILE, python, *files],
        "torch.load + isfinite": [python, os.path.join(HERE, "torch_isfinite.py"), tree],
        "torch.load, mapped, + isfinite": [python, os.path.join(HERE, "torch_isfinite.py"), tree, "--mmap"],
        "sha256sum": ["sha256sum", *files],
    }


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and the peak of its memory in MiB. Raises CalledProcessError."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command[:4])
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="compare audit verify with what else reads the same bytes")
    parser.add_argument("tree")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names of commands")
    args = parser.parse_args()
    files = sorted(
        os.path.join(where, name)
        for where, _, names in os.walk(args.tree)
        for name in names
        if ".audit" not in where.split(os.sep)
    )
    size = sum(map(os.path.getsize, files)) / 1e9
    todo = commands(args.tree, files)
    cat = todo.pop("cat")
    if args.only:
        todo = {name: command for name, command in todo.items() if any(part in name for part in args.only)}
    measure(cat)
    if any("sealed" in name for name in todo):
        measure([sys.executable, "-m", "audit", "verify", args.tree])  # takes the seals, into TREE/.audit
    times: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(args.rounds):
        for name, command in todo.items():
            base, memory = measure(cat)
            times.setdefault("cat", []).append((base, 1.0, memory))
            seconds, memory = measure(command)
            times.setdefault(name, []).append((seconds, seconds / base, memory))
    print(f"{len(files)} files, {size:.2f} GB, {args.rounds} rounds, {os.cpu_count()} cores\n")
    print(
        "| command | seconds | min | GB/s | to cat | min..max | peak MiB |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for name, runs in times.items():
        seconds, ratio, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        ratios = sorted(run[1] for run in runs)
        least = min(run[0] for run in runs)
        print(
            f"| {name} | {seconds:.3f} | {least:.3f} | {size / seconds:.2f} | {ratio:.2f} "
            f"| {ratios[0]:.2f}..{ratios[-1]:.2f} | {memory:.0f} |"
        )


if __name__ == "__main__":
    main()
