"""What decides whether a step has the same result bit for bit: the machine, the versions of the libraries."""

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

GPUS = "/proc/driver/nvidia/gpus"
MOST_GPUS = 64
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def machine(libraries: Iterable[str]) -> Mapping[str, str]:
    """Return it as texts by name; ``libraries`` are distributions. Loads none of them.

    The number of cores is a part of it: sums over several threads are split by it.
    """
    found = {
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": str(_cores()),
        "python": ".".join(map(str, sys.version_info[:3])),
        **{name.lower(): os.environ[name] for name in THREADS if os.environ.get(name)},
    }
    gpus = _gpus()
    if gpus:
        found["gpu"] = ", ".join(gpus)
    from importlib.metadata import PackageNotFoundError, version

    for name in libraries:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return the first thing that is another one now, None if all are the same."""
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if old != new:
            return f"{name} {old or 'not there'} then, {new or 'not there'} now"
    return None


def _cores() -> int:
    with suppress(AttributeError, OSError):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    found = []
    with suppress(OSError):
        for name in sorted(os.listdir(GPUS))[:MOST_GPUS]:
            with open(os.path.join(GPUS, name, "information"), encoding="utf-8", errors="replace") as file:
                found += [line.partition(":")[2].strip() for line in file if line.startswith("Model:")]
    return found
