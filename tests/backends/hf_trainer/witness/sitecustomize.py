"""Imported by every Python with this directory in PYTHONPATH: records what a Trainer really trains, makes it fail.

Knows nothing of the audit. ``WITNESS`` is the file to append to, one JSON object for each forward and backward pass;
``WITNESS_ACT`` is "<what>@<step>": what happens when that step begins (see :func:`_act`), in the process of rank
``WITNESS_RANK`` if given.
"""

import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

WHO = f"{os.getpid()}.{time.time_ns()}"
IGNORED = -100
DONE: list[str] = []


def _note(**what: Any) -> None:
    descriptor = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, json.dumps({"who": WHO, "pid": os.getpid(), **what}).encode() + b"\n")
    os.close(descriptor)


def _act(step: int) -> None:
    what, _, when = os.environ.get("WITNESS_ACT", "").partition("@")
    mine = os.environ.get("WITNESS_RANK", os.environ.get("RANK", "0")) == os.environ.get("RANK", "0")
    if not what or not mine or int(when) != step or DONE:
        return
    DONE.append(what)  # once: a step has several passes
    import torch

    if what == "hold":  # until the test writes into the FIFO beside the log
        # The numbers of the signals that came meanwhile can be read beside the log.
        came = os.open(os.environ["WITNESS"] + ".signals", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
        signal.set_wakeup_fd(came)
        _note(held=step)
        with open(os.environ["WITNESS"] + ".fifo", "rb") as fifo:
            fifo.read()
    elif what == "oom":
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity of 8 GiB"
        )
    elif what == "memory":  # really: the address space is limited and then asked for
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
        torch.zeros(1 << 30)
    elif what == "python-memory":
        raise MemoryError
    elif what == "abort":
        os.abort()
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit":
        sys.stderr.write("the driver is gone\n")
        sys.stderr.flush()
        os._exit(3)
    elif what == "file-size":  # what a quota does
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 10, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    else:
        raise ValueError(what)


def _watch(trainer: ModuleType) -> None:
    real = trainer.Trainer.training_step

    def training_step(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        step = self.state.global_step + 1
        rows = zip(
            inputs["input_ids"], inputs["attention_mask"], inputs.get("labels", inputs["input_ids"]), strict=True
        )
        kept = [(ids[mask == 1].tolist(), labels.tolist()) for ids, mask, labels in rows]
        _act(step)
        result = real(self, model, inputs, *rest, **more)
        trained = [ids for ids, labels in kept if any(label != IGNORED for label in labels)]
        _note(step=step, rank=int(os.environ.get("RANK", "0")), rows=trained, fill=len(kept) - len(trained))
        return result

    trainer.Trainer.training_step = training_step


class _Finder(importlib.abc.MetaPathFinder):
    """Finds transformers.trainer as everybody does, and changes it once it is loaded."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != "transformers.trainer":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_watch(module: ModuleType) -> None:
                run(module)
                _watch(module)

            spec.loader.exec_module = run_and_watch  # type: ignore[method-assign]
        return spec


if "WITNESS" in os.environ:
    sys.meta_path.insert(0, _Finder())
