"""Files that are missing, empty, cut, or stand-ins."""

import os
import shutil

from tests.faults.table import Damage, Group
from tests.faults.tools import ADAPTER, STATE, cut, data_start, in_place_of, overwrite, record_span

NEWEST, BEFORE, FIRST = "checkpoint-60", "checkpoint-40", "checkpoint-20"
BASE = "long_history"


def inside(run: str, name: str, checkpoint: str = NEWEST) -> str:
    return os.path.join(run, checkpoint, name)


def remove(*names: str) -> Damage:
    def damage(run: str) -> None:
        for name in names:
            os.unlink(inside(run, name))

    return damage


missing = Group("Missing files", BASE, NEWEST, BEFORE)
missing.add("optimizer.pt missing", "files/missing-optimizer", remove("optimizer.pt"))
missing.add("scheduler.pt missing", "files/missing-scheduler", remove("scheduler.pt"))
missing.add("optimizer.pt and scheduler.pt missing", "files/missing-optimizer", remove("optimizer.pt", "scheduler.pt"))
missing.add("trainer_state.json missing", "files/incomplete-checkpoint", remove(STATE))
missing.add("adapter weights missing", "files/missing-weights", remove(ADAPTER))
missing.add("adapter_config.json missing", "files/missing-adapter-config", remove("adapter_config.json"))
missing.add(
    "rng_state.pth missing",
    "files/missing-rng-state",
    remove("rng_state.pth"),
    severity="warning",
    blocks=False,
)
missing.add(
    "only weights and trainer state left",
    "files/weights-only",
    remove("optimizer.pt", "scheduler.pt", "rng_state.pth"),
)


def _emptied(run: str) -> None:
    shutil.rmtree(inside(run, ""))
    os.mkdir(inside(run, ""))


missing.add("the newest checkpoint is an empty directory", "files/incomplete-checkpoint", _emptied)


def newer(*names: str) -> Damage:
    """A save of step 80 that was killed after these files."""

    def damage(run: str) -> None:
        os.mkdir(os.path.join(run, "checkpoint-80"))
        for name in names:
            shutil.copy2(inside(run, name), os.path.join(run, "checkpoint-80", name))

    return damage


killed = Group("Saves and deletions that were killed", BASE, "checkpoint-80", NEWEST)
killed.add("killed save: an empty directory", "files/incomplete-checkpoint", newer())
killed.add("killed save: weights only", "files/incomplete-checkpoint", newer("README.md", ADAPTER))
killed.add(
    "killed save: everything but trainer_state.json",
    "files/incomplete-checkpoint",
    newer(ADAPTER, "adapter_config.json", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
)


def _half_deleted(run: str) -> None:
    os.unlink(inside(run, ADAPTER, FIRST))


def _sentinel(run: str) -> None:
    in_place_of(inside(run, "checkpoint-is-incomplete.txt"), b"")


def _orphan(run: str) -> None:
    shutil.copy2(inside(run, ADAPTER), inside(run, ".tmpAbCdEf"))


killed = Group("Saves and deletions that were killed", BASE, NEWEST, BEFORE)
killed.add(
    "rotation killed: weights of an old checkpoint gone",
    "files/missing-weights",
    _half_deleted,
    checkpoint=FIRST,
    blocks=False,
)
killed.add("sentinel of a save at SIGTERM left", "files/incomplete-checkpoint", _sentinel)
killed.add("temporary file of a killed save left", "files/leftover", _orphan, severity="info", blocks=False)


def cutting(name: str, size: int) -> Damage:
    return lambda run: cut(inside(run, name), size)


empty = Group("Empty files", BASE, NEWEST, BEFORE)
for _name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", STATE, ADAPTER, "adapter_config.json"):
    empty.add(f"{_name} has no bytes", "files/empty-file", cutting(_name, 0))


def halved(name: str) -> Damage:
    return lambda run: cut(inside(run, name), os.path.getsize(inside(run, name)) // 2)


truncated = Group("Cut and zeroed files", BASE, NEWEST, BEFORE)
for _name, _rule in (
    ("optimizer.pt", "integrity/archive"),
    ("scheduler.pt", "integrity/archive"),
    ("rng_state.pth", "integrity/archive"),
    (STATE, "integrity/json"),
    ("adapter_config.json", "integrity/json"),
    (ADAPTER, "integrity/safetensors"),
):
    truncated.add(f"{_name} cut in half", _rule, halved(_name))
truncated.add("optimizer.pt: last 100 bytes cut", "integrity/archive", cutting("optimizer.pt", -100))
truncated.add("adapter weights: last 4 bytes cut", "integrity/safetensors", cutting(ADAPTER, -4))
truncated.add("training_args.bin cut in half", "integrity/archive", halved("training_args.bin"), blocks=False)
truncated.add(
    "adapter weights: all bytes zero, size unchanged",
    "integrity/safetensors",
    lambda run: overwrite(inside(run, ADAPTER), 0, bytes(os.path.getsize(inside(run, ADAPTER)))),
)
truncated.add(
    "adapter weights: last 1 KiB zeroed (a lost page)",
    "weights/zero-run",
    lambda run: overwrite(inside(run, ADAPTER), -1024, bytes(1024)),
    severity="warning",
    blocks=False,
    depth="full",
)


def _zero_record(run: str) -> None:
    offset, length = record_span(inside(run, "optimizer.pt"), 1)
    overwrite(inside(run, "optimizer.pt"), offset, bytes(length))


truncated.add("optimizer.pt: one storage zeroed", "integrity/archive", _zero_record, depth="full")


def _trailing(name: str, garbage: bytes) -> Damage:
    def damage(run: str) -> None:
        with open(inside(run, name), "ab") as file:
            file.write(garbage)

    return damage


truncated.add("trainer_state.json with trailing garbage", "integrity/json", _trailing(STATE, b'{"a": 1}\n'))
truncated.add("adapter weights with trailing bytes", "integrity/safetensors", _trailing(ADAPTER, bytes(16)))
truncated.add("optimizer.pt with trailing bytes", "integrity/archive", _trailing("optimizer.pt", bytes(64)))


def _grown_header(run: str) -> None:
    overwrite(inside(run, ADAPTER), 0, (2**62).to_bytes(8, "little"))


def _overlap(run: str) -> None:
    path = inside(run, ADAPTER)
    length = data_start(path) - 8
    with open(path, "rb") as file:
        header = file.read(8 + length)[8:]
    first = header.index(b'data_offsets":[') + len(b'data_offsets":[')
    second = header.index(b'data_offsets":[', first) + len(b'data_offsets":[')
    overwrite(path, 8 + second, b"0")


truncated.add("adapter weights: header length made huge", "security/oversized", _grown_header)
truncated.add("adapter weights: offsets of two tensors overlap", "integrity/safetensors", _overlap)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def replaced(name: str, text: bytes) -> Damage:
    return lambda run: in_place_of(inside(run, name), text)


stand_ins = Group("Stand-ins", BASE, NEWEST, BEFORE)
for _name in ("optimizer.pt", ADAPTER, STATE):
    stand_ins.add(
        f"{_name} is a git-lfs pointer",
        "files/placeholder",
        replaced(_name, POINTER),
    )


def renamed(name: str, suffix: str) -> Damage:
    return lambda run: os.rename(inside(run, name), inside(run, name + suffix))


stand_ins.add("optimizer.pt.REMOVED.git-id", "files/placeholder", renamed("optimizer.pt", ".REMOVED.git-id"))
stand_ins.add("adapter weights split by hand", "files/placeholder", renamed(ADAPTER, ".part_aa"))
