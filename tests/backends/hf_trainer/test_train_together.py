"""``audit train`` under torchrun and accelerate launch: two gloo processes train, one audits, all end together."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from audit.retention.lock import RunLock, holder_of
from tests.backends.hf_trainer.continuous import PATIENCE, Continuous, alive, examples, until
from tests.tensorboard_files import events_in

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")  # fmt: skip
LAUNCHERS = {
    "torchrun": (*TORCHRUN, "--no-python"),
    "torchrun -m": TORCHRUN,
    "accelerate": ACCELERATE,
}
PER_STEP = 8


def filled(home: Path, launcher: str = "torchrun", **parts: str) -> Continuous:
    """Batches of 5, 2 and 3 steps: the last step of the first has 3 examples for two processes, of the last 1."""
    shop = Continuous(home, launcher=LAUNCHERS[launcher], **parts)
    for number, count in enumerate((35, 16, 17)):
        shop.drop(f"{number}.jsonl", examples(count, number))
    return shop


def said(errors: str) -> list[str]:
    """The lines of ours: torchrun prints much of its own where a process ends with another code than 0."""
    return [line for line in errors.splitlines() if line.startswith(("audit train:", "interrupted"))]


def test_two_processes_stop_after_the_same_step_and_go_on_with_every_example_once(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", launcher=LAUNCHERS["torchrun"])
    shop.drop("0.jsonl", examples(35, 0))
    with shop.held(3) as held:
        held.signal_launcher(signal.SIGTERM)  # torchrun passes it on to both
        held.release()
        code, events, errors = held.end()
    assert holder_of(str(shop.run)) is None
    if "forcefully exiting" not in errors:  # torchrun kills what has not ended after 30 seconds, on a busy machine
        assert shop.step == 3, (code, events, errors)
        assert [item["state"] for item in shop.rows()] == ["stopped"]
    shop.call()

    shop.check(per_step=PER_STEP)
    assert (shop.run / "checkpoint-5" / "rng_state_0.pth").exists()
    assert (shop.run / "checkpoint-5" / "rng_state_1.pth").exists()
    assert {item.rank for item in shop.passes()} == {0, 1}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Continuous:
    shop = filled(tmp_path_factory.mktemp("straight"))
    shop.call()
    shop.check(per_step=PER_STEP)
    return shop


@pytest.mark.slow
@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_every_launcher_trains_the_same(launcher: str, tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path, launcher)
    done = shop.call()
    assert done.stdout.count("is proven and sealed") == 3
    shop.check(straight, per_step=PER_STEP)


@pytest.mark.slow
@pytest.mark.parametrize(("whom", "step"), [("all", 4), ("rank 0", 9), ("rank 1", 6)])
def test_killed_it_goes_on_in_the_same_bits(whom: str, step: int, tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    with shop.held(step, WITNESS_RANK="1" if whom == "rank 1" else "0") as held:
        victims = [held.child] if whom != "all" else [held.process.pid, *children_of(held.process.pid)]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        held.process.communicate(timeout=PATIENCE)
        until(lambda: holder_of(str(shop.run)) is None)
    shop.call()
    shop.check(straight, per_step=PER_STEP)


@pytest.mark.slow
def test_without_their_launcher_the_processes_keep_the_lock_and_nothing_is_lost(
    tmp_path: Path, straight: Continuous
) -> None:
    shop = filled(tmp_path)
    with shop.held(4) as held:
        workers = children_of(held.process.pid)
        held.process.kill()
        held.process.wait()
        assert "is being trained" in shop.call(code=1).stderr
        held.release()
        try:
            until(lambda: not any(alive(worker) for worker in workers))
        finally:
            for worker in filter(alive, workers):
                os.kill(worker, signal.SIGKILL)
    shop.call()
    shop.check(straight, per_step=PER_STEP)


def children_of(process: int) -> list[int]:
    """torchrun gives each worker a session of its own."""
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_stops_all_after_one_step(
    number: signal.Signals, tmp_path: Path, straight: Continuous
) -> None:
    shop = filled(tmp_path)
    with shop.held(8) as held:
        held.signal_launcher(number)
        held.release()
        _, events, errors = held.end()
    stopped = [event for event in events if event["event"] == "stopped"]
    assert [event["step"] for event in stopped] == [8], errors
    assert "Traceback (most recent call last)" not in errors.replace(_of_torchrun(errors), "")
    shop.call()
    shop.check(straight, per_step=PER_STEP)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_one_step(tmp_path: Path, straight: Continuous) -> None:
    shop = filled(tmp_path)
    with shop.held(3, WITNESS_RANK="1") as held:
        os.kill(held.child, signal.SIGTERM)
        held.signalled()
        held.release()
        held.end()
    assert shop.step == 3
    shop.call()
    shop.check(straight, per_step=PER_STEP)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "rank"), [("oom", "0"), ("oom", "1"), ("kill", "1"), ("abort", "0")])
def test_a_failure_of_one_process_ends_both_and_the_batch_stays(
    what: str, rank: str, tmp_path: Path, straight: Continuous
) -> None:
    shop = filled(tmp_path)
    done = shop.call(code=1, WITNESS_ACT=f"{what}@4", WITNESS_RANK=rank)
    assert shop.waiting() == ["0.jsonl", "1.jsonl", "2.jsonl"]
    if what == "oom" and rank == "0":
        reason = "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."
        assert said(done.stderr)[0] == f"audit train: 0.jsonl: failed at step 3: {reason}"
    if what == "oom":
        assert "CUDA out of memory" in done.stderr
    shop.call()
    shop.check(straight, per_step=PER_STEP)


@pytest.mark.slow
def test_a_bad_configuration_is_said_once(tmp_path: Path) -> None:
    shop = filled(tmp_path, arguments="learning_ratio = 1")
    done = shop.call(code=1)  # torchrun's own code for any other than 0
    assert len(said(done.stderr)) == 1
    assert "learning_ratio: there is no such key" in done.stderr
    assert _codes(done.stderr) <= {2, -signal.SIGTERM}


@pytest.mark.slow
def test_a_held_lock_is_said_once(tmp_path: Path) -> None:
    shop = filled(tmp_path)
    with RunLock(str(shop.run), "trained"):
        done = shop.call(code=1)
    assert len(said(done.stderr)) == 1
    assert "is being trained by process" in said(done.stderr)[0]
    assert _codes(done.stderr) <= {2, -signal.SIGTERM}


@pytest.mark.slow
def test_a_refusal_of_the_guard_is_said_once(tmp_path: Path) -> None:
    shop = filled(tmp_path)
    (shop.run / "checkpoint-7").mkdir(parents=True)
    (shop.run / "checkpoint-7" / "trainer_state.json").write_text("{")
    done = shop.call(code=1)
    assert len(said(done.stderr)) == 1
    assert _codes(done.stderr) <= {1, -signal.SIGTERM}


@pytest.mark.slow
def test_saves_within_a_leg_are_in_tensorboard_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    shop = Continuous(tmp_path / "shop", arguments='report_to = "tensorboard"', launcher=LAUNCHERS["torchrun"])
    shop.drop("a.jsonl", examples(7 * PER_STEP, 1))
    shop.drop("b.jsonl", examples(2 * PER_STEP, 2))
    shop.call()

    shop.check(per_step=PER_STEP)
    (place,) = (shop.run / "runs").iterdir()
    found = events_in(place)
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert found["audit/verdict"] == [(step, 0.0) for step in (2, 4, 6, 7, 8, 9)]


SILENT = """
import os, time
from audit.hookspecs import hookimpl

@hookimpl(tryfirst=True)
def audit_legs_judged(judged):
    with open(os.environ["SILENT"], "a") as file:
        file.write(f"{[item.step for item in judged]}\\n")
    time.sleep(3600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("save_steps", [2, 100], ids=["at a save", "after a leg"])
@pytest.mark.parametrize("launcher", [(), LAUNCHERS["torchrun"]], ids=["one process", "torchrun"])
def test_a_tracker_that_never_answers_holds_no_training_and_no_batch(
    launcher: tuple[str, ...], save_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX")
    info = tmp_path / "silent-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: silent\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[audit]\nsilent = silent_plugin\n")
    (tmp_path / "silent_plugin.py").write_text(SILENT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    shop = Continuous(
        tmp_path / "shop",
        arguments=f'report_to = "tensorboard"\nsave_steps = {save_steps}',
        more="[trackers]\ntimeout-seconds = 1.5",
        launcher=launcher,
    )
    for number in range(2):
        shop.drop(f"{number}.jsonl", examples(5 * PER_STEP, number))
    done = shop.call(SILENT=str(tmp_path / "asked"))

    shop.check(per_step=PER_STEP if launcher else PER_STEP // 2)
    assert not shop.waiting()
    notes = [line for line in (done.stdout + done.stderr).splitlines() if "no longer logged" in line]
    assert len(notes) == 1, done.stdout + done.stderr
    assert "what is found is no longer logged to a tracker in this call: it took longer than 1.5 s" in notes[0]
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def _codes(errors: str) -> set[int]:
    """The exit codes of the processes, as torchrun tells them."""
    return {int(code) for code in re.findall(r"exitcode\s*:\s*(-?\d+)", errors)}


def _of_torchrun(errors: str) -> str:
    """Its own traceback."""
    found = re.search(r"(?s)Traceback \(most recent call last\):\n  File [^\n]*(?:runpy|torchrun).*", errors)
    return found[0] if found else ""
