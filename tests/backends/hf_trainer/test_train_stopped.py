"""``audit train`` with the real Trainer, stopped by signals and failures: the batch stays, the next call continues."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.retention.lock import holder_of
from tests.backends.hf_trainer.continuous import PATIENCE, Continuous, end_session, examples

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; only Linux ends a child with its parent"),
]

SIGNALS = [signal.SIGINT, signal.SIGTERM]
FAILURES = [
    ("oom", "out-of-memory", "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."),
    ("memory", "out-of-memory", "RuntimeError: "),
    ("python-memory", "out-of-memory", "MemoryError: no message"),
    ("abort", "killed", "the training process was killed by SIGABRT"),
    ("kill", "killed", "the training process was killed by SIGKILL, perhaps because memory ran out"),
    ("exit", "exit", "the training process ended with code 3, without a result; last output: the driver is gone"),
]

FULL = re.compile("no space left on the volume of the run|No space left on device|disk is full|are free")


def filled(home: Path) -> Continuous:
    shop = Continuous(home)
    shop.drop("a.jsonl", examples(17, 1))
    shop.drop("b.jsonl", examples(7, 2))
    return shop


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Continuous:
    home = tmp_path_factory.mktemp("straight")
    return filled(home / "shop").straight(home / "straight")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_libraries_load_ends_at_once(number: int, tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    process = shop.start()
    try:
        assert process.stdout is not None
        while "loading the libraries" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        end_session(process)

    assert process.returncode == 128 + number
    assert errors == {signal.SIGINT: "interrupted\n", signal.SIGTERM: ""}[signal.Signals(number)]
    assert "Traceback" not in shop.printed()
    assert (shop.step, shop.waiting(), holder_of(str(shop.run))) == (0, ["a.jsonl", "b.jsonl"], None)
    shop.call()
    shop.check(straight)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_the_step_end_and_be_saved(number: int, tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    with shop.held(3) as held:
        held.process.send_signal(number)
        held.release()
        code, events, errors = held.end()

    assert (code, errors) == (128 + number, "")
    assert {"event": "stopped", "step": 3, "signal": number}.items() <= events[-1].items()
    assert shop.step == 3
    shop.call()
    shop.check(straight)


def test_the_second_interrupt_ends_at_once(tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    with shop.held(4) as held:
        held.signal(signal.SIGINT)
        held.process.send_signal(signal.SIGINT)  # the step cannot end: nobody releases it
        code, _, errors = held.end()

    assert (code, errors) == (130, "interrupted\n")
    assert "Traceback" not in shop.printed()
    assert (shop.step, shop.waiting()) == (2, ["a.jsonl", "b.jsonl"])
    shop.call()
    shop.check(straight)


def test_interrupted_by_a_terminal_only_one_of_them_decides(tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    with shop.held(3) as held:  # Ctrl-C goes to the whole foreground group; kill by hand may go to both
        os.killpg(os.getpgid(held.process.pid), signal.SIGINT)
        os.kill(held.child, signal.SIGTERM)
        held.release()
        code, _, errors = held.end()
    assert (code in (130, 143), errors) == (True, "")
    shop.call()
    shop.check(straight)


@pytest.mark.parametrize(("what", "kind", "reason"), FAILURES, ids=[item[0] for item in FAILURES])
def test_a_failure_leaves_the_batch_and_says_why(
    what: str, kind: str, reason: str, tmp_path: Path, straight: Continuous
) -> None:
    shop = filled(tmp_path)
    first = shop.call(code=1, WITNESS_ACT=f"{what}@4")
    assert first.stderr.startswith(f"audit train: a.jsonl: failed at step 3: {reason}")
    assert first.stderr.count("\n") == 1
    assert shop.waiting() == ["a.jsonl", "b.jsonl"]
    second = shop.call(code=1, WITNESS_ACT=f"{what}@4")
    assert "it failed at this step before (the second time)" in second.stderr

    told = shop.history()
    assert reason[:30] in told
    assert [(item["failures"], item["failed_at"], item["kind"]) for item in shop.rows()] == [(2, 3, kind)]
    shop.call()
    shop.check(straight)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that is a file system of 2 MB, if this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("free", [0, 12, 28, 44, 56])
def test_a_disk_that_fills_up_leaves_the_batch_and_the_reason(
    free: int, small_disk: Path, tmp_path: Path, straight: Continuous
) -> None:
    shop = filled(tmp_path / "shop")
    shop.run.symlink_to(small_disk / "run")
    (small_disk / "run").mkdir()
    ballast = small_disk / "ballast"
    with shop.held(3) as held:
        left = os.statvfs(small_disk)
        ballast.write_bytes(bytes(left.f_bavail * left.f_frsize - free * 1024))
        held.release()
        code, events, errors = held.end()
    assert (code, errors) == (1, "")
    assert FULL.search(events[-1]["reason"]), events[-1]
    assert shop.waiting() == ["a.jsonl", "b.jsonl"]
    assert FULL.search(shop.rows()[0]["reason"])  # there was room in reserve
    again = subprocess.run(shop.command(), capture_output=True, text=True, env=shop.environment(), check=False)
    assert (again.returncode in (1, 2), again.stderr.count("\n")) == (True, 1)
    assert FULL.search(again.stderr)

    ballast.unlink()
    shop.call()
    shop.check(straight)


def test_a_quota_leaves_the_batch_and_says_so(tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    said = shop.call(code=1, WITNESS_ACT="file-size@2").stderr
    assert "a.jsonl: failed at step 2: " in said
    assert said.count("\n") == 1
    shop.call()
    shop.check(straight)


def test_a_refused_argument_is_one_line(tmp_path: Path) -> None:
    shop = Continuous(tmp_path, arguments="optim = 'adamw_torch'\noptim_args = 'what=ever=this'")
    shop.drop("a.jsonl", examples(5, 1))
    said = shop.call(code=1)
    assert said.stderr.count("\n") == 1
    assert json.dumps(shop.waiting()) == '["a.jsonl"]'
