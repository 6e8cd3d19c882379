"""What two processes have trained is rehearsed by two under torchrun, bit for bit, and said once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from audit.ledger.events import Rehearsed
from audit.training.batch_log import BatchLog
from tests.backends.hf_trainer.continuous import Continuous, examples
from tests.backends.hf_trainer.rehearsed import copied
from tests.backends.hf_trainer.test_train_together import LAUNCHERS, TORCHRUN

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Continuous:
    """Batches of 5 steps each, saved every 2; the last step of the first has 3 examples for two processes."""
    found = Continuous(
        tmp_path_factory.mktemp("two") / "shop",
        launcher=LAUNCHERS["torchrun"],
        arguments="save_steps = 2\nsave_total_limit = 20",
    )
    found.drop("0.jsonl", examples(35, 0))
    found.drop("1.jsonl", examples(40, 1))
    found.call()
    return found


def rehearse(shop: Continuous, *options: str, launcher: tuple[str, ...] = TORCHRUN) -> Any:
    command = [*(launcher or (sys.executable,)), "-m", "audit", "rehearse", str(shop.run), "--config", str(shop.config)]
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, env=shop.environment(), timeout=300
    )


def rehearsals(shop: Continuous) -> list[Rehearsed]:
    return [row.event for row in BatchLog(str(shop.run)).rows() if isinstance(row.event, Rehearsed)]


def test_two_processes_are_the_same_bit_for_bit_and_it_is_said_and_recorded_once(shop: Continuous) -> None:
    done = rehearse(shop, "--checkpoint", "2", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["same"], found["exact"], found["steps_compared"]) == (True, True, 3)
    assert found["judged"] == ["examples", "learning rate", "loss", "gradient norm"]
    assert [part["missed"] for part in found["restored"]] == [None] * 4
    values = {part["part"]: part["values"] for part in found["restored"]}
    assert values["random states"] == 18, "9 of each process"
    assert [item["step"] for item in found["arrivals"]] == [4, 5]
    assert [(item.checkpoint, item.same) for item in rehearsals(shop)].count(("checkpoint-2", True)) == 1


def test_what_is_wrong_in_another_process_is_named_with_it(shop: Continuous, tmp_path: Path) -> None:
    other = copied(shop, tmp_path / "shop")
    shutil.copy(other.run / "checkpoint-8" / "rng_state_1.pth", other.run / "checkpoint-4" / "rng_state_1.pth")
    done = rehearse(other, "--checkpoint", "4")
    assert done.returncode == 1
    assert done.stdout.count("step 5: loss: ") == 1
    assert "random states: 1 of 18 values differ, the first is process 1: cpu" in done.stdout
    assert done.stdout.endswith("checkpoint-4: differs\n")


def test_what_cannot_be_rehearsed_is_said_once(shop: Continuous) -> None:
    done = rehearse(shop, "--checkpoint", "3")
    assert done.returncode == 1  # torchrun's own code for any other than 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(("audit rehearse:", "ended by"))]
    assert line.startswith(f"audit rehearse: {shop.run}: has no checkpoint-3; there is checkpoint-2, checkpoint-4,")


def test_one_process_is_refused_with_the_command_to_use(shop: Continuous) -> None:
    done = rehearse(shop, "--checkpoint", "2", launcher=())
    assert (done.returncode, done.stdout) == (2, "")
    assert "trained by 2 processes, and this is 1" in done.stderr
    assert "rehearse with torchrun --nproc-per-node 2 -m audit rehearse" in done.stderr
