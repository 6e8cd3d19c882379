"""What a run may cost: memory is measured in a process of its own; time is bounded by what is counted, not measured."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.facts.allowance import FREE, Allowance
from audit.formats.json_text import weight
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes, zip_bytes

MEGABYTE = 1 << 20
MOST = 300 * MEGABYTE
JUDGE = """
import sys
from audit.api import verify
report = verify(sys.argv[1])
for finding in report.findings:
    print(finding.rule, finding.file, int(finding.blocks_resume))
assert not report.crashed, report.crashed
with open("/proc/self/status") as status:  # getrusage also knows the parent's, before exec
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def judged(run: str) -> tuple[set[str], int]:
    """The findings as "rule file", and the bytes of memory that verifying took, the interpreter included."""
    ran = subprocess.run([sys.executable, "-c", JUDGE, run], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    *findings, peak = ran.stdout.splitlines()
    return {line.rpartition(" ")[0] for line in findings}, int(peak) * 1024


def archive(body: bytes) -> bytes:
    return zip_bytes({"a/data.pkl": b"\x80\x02" + body + b".", "a/version": b"3\n", "a/byteorder": b"little"})


HEAVY: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nested lists in the optimizer": ("optimizer.pt", lambda: archive(b"](" + b"]" * 7_900_000 + b"e")),
    "dictionaries in the optimizer": ("optimizer.pt", lambda: archive(b"](" + b"}" * 7_900_000 + b"e")),
    "nested tuples in the scheduler": ("scheduler.pt", lambda: archive(b")" + b"\x85" * 7_900_000)),
    "empty objects in a tokenizer of 60 MB": ("tokenizer.json", lambda: b"[" + b"{}," * (20 * MEGABYTE) + b"{}]"),
    "empty lists in the adapter's configuration": (
        "adapter_config.json",
        lambda: b"[" + b"[]," * (20 * MEGABYTE) + b"1]",
    ),
    "a log of 150 MB": (
        "trainer_state.json",
        lambda: b'{"global_step": 200, "log_history": [' + b'{"step":1},' * 13_600_000 + b'{"step":1}]}',
    ),
    "a log of 40 MB of short entries": (
        "trainer_state.json",
        lambda: b'{"global_step": 200, "log_history": [' + b'{"step":1},' * 3_600_000 + b'{"step":1}]}',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_no_file_takes_more_memory_than_a_run_may(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run", (100, 200))
    file, content = HEAVY[name]
    Path(run, "checkpoint-200", file).write_bytes(content())

    findings, peak = judged(run)

    assert peak < MOST
    assert (f"security/oversized {file}" in findings) == (file != "tokenizer.json")


@pytest.mark.slow
def test_many_heavy_files_take_no_more_than_one(tmp_path: Path) -> None:
    steps = tuple(range(100, 1300, 100))
    run = make_run(tmp_path / "run", steps)
    first = Path(run, "checkpoint-100", "scheduler.pt")
    first.write_bytes(archive(b"](" + b"]" * 500_000 + b"e"))  # 40 MB of memory, which one file may take
    for step in steps[1:]:
        place = Path(run, f"checkpoint-{step}", "scheduler.pt")
        place.unlink()
        os.link(first, place)

    _, peak = judged(run)

    assert peak < MOST


def log(entries: int, keys: int) -> list[dict[str, Any]]:
    generator = random.Random(1)
    names = [f"metric_{number}" for number in range(keys - 2)]
    return [
        {"step": step, "epoch": step / entries, **{name: generator.random() for name in names}}
        for step in range(1, entries + 1)
    ]


def tokenizer() -> bytes:
    generator = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyzéü▁😀"
    words = ["".join(generator.choices(letters, k=generator.randrange(4, 15))) for _ in range(400_000)]
    merges = [[words[at], words[-at]] for at in range(1, 390_000)]
    vocabulary = {word: number for number, word in enumerate(words)}
    document = {"version": "1.0", "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


@pytest.mark.slow
def test_the_largest_real_files_are_sound_and_far_below(tmp_path: Path) -> None:
    """A log of 100 000 entries with 10 keys (33 MB), and a tokenizer of some 35 MB beside it."""
    run = make_run(tmp_path / "run", (100_000,), save_steps=100_000, logging_steps=100_000)
    checkpoint = Path(run, "checkpoint-100000")
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    state["log_history"] = log(100_000, 10)
    (checkpoint / "trainer_state.json").write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
    (checkpoint / "tokenizer.json").write_bytes(tokenizer())
    assert (checkpoint / "trainer_state.json").stat().st_size > 30 * MEGABYTE
    assert (checkpoint / "tokenizer.json").stat().st_size > 30 * MEGABYTE

    findings, peak = judged(run)

    assert peak < MOST
    assert not any("oversized" in finding or "integrity" in finding for finding in findings)


@pytest.mark.slow
def test_an_optimizer_of_twenty_thousand_parameters_is_sound(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    number = FakeTensor("F32", (1,), b"\0\0\x80?")
    step = FakeTensor("F32", (), b"\0\0\xc8B")
    state = {
        index: {"step": step._replace(), "exp_avg": number._replace(), "exp_avg_sq": number._replace()}
        for index in range(20_000)
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "params": list(range(20_000)), "initial_lr": 1e-4}
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(
        torch_archive_bytes({"state": state, "param_groups": [group]}, "optimizer")
    )

    findings, peak = judged(run)

    assert peak < MOST
    assert not any(finding.startswith(("security/", "integrity/")) for finding in findings)


def test_what_is_small_is_not_counted() -> None:
    allowance = Allowance(MEGABYTE)
    assert all(allowance.take(FREE) for _ in range(20_000))
    assert allowance.take(MEGABYTE + FREE)
    assert not allowance.take(FREE + 1)
    assert allowance.take(FREE)
    allowance.give(MEGABYTE + FREE)
    assert allowance.take(MEGABYTE + FREE)


def test_a_log_weighs_about_what_it_takes_however_long_its_keys_are() -> None:
    entries = log(2000, 10)
    assert 1_000_000 < weight(json.dumps(entries).encode()) < 2_000_000
    varied = [{f"{name}-{number}": value for name, value in entry.items()} for number, entry in enumerate(entries)]
    assert weight(json.dumps(varied).encode()) > 2_500_000
