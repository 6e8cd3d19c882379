"""audit list and audit show: facts, no judgement."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.testing.runs import edit_arguments, edit_json, edit_scheduler
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def test_a_run_is_listed_by_step(audit: Audit, run: str) -> None:
    ended = audit("list", run)
    assert (ended.code, ended.err) == (0, "")
    head, *lines = ended.out.splitlines()
    assert head.split()[:4] == ["CHECKPOINT", "STEP", "EPOCH", "LOSS"]
    assert [line.split()[:2] for line in lines] == [[f"checkpoint-{step}", str(step)] for step in (100, 200, 300)]


def test_a_list_for_programs_is_json(audit: Audit, broken: str) -> None:
    rows = json.loads(audit("list", broken, "--format", "json").out)
    assert [(row["global_step"], row["kind"]) for row in rows] == [(100, "adapter"), (200, "adapter"), (300, "adapter")]


def test_a_torn_checkpoint_is_listed_with_what_is_known(audit: Audit, run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").unlink()
    line = audit("list", run).out.splitlines()[-1]
    assert line.split()[:3] == ["checkpoint-300", "-", "-"]
    assert line.endswith("in progress")


def test_an_empty_checkpoint_can_be_listed_and_shown(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint-5").mkdir(parents=True)
    assert "checkpoint-5" in audit("list", str(tmp_path / "run")).out
    assert audit("show", str(tmp_path / "run")).code == 0


def test_a_run_shows_its_newest_checkpoint(audit: Audit, run: str) -> None:
    ended = audit("show", run)
    assert ended.code == 0
    assert ended.out.startswith(f"{run}/checkpoint-300\n")
    for part in ("global_step", "last_epoch", "parameters with state", "lora_alpha", "adapter_model.safetensors"):
        assert part in ended.out


def test_one_checkpoint_is_shown(audit: Audit, run: str) -> None:
    document = json.loads(audit("show", f"{run}/checkpoint-200", "--format", "json").out)
    assert document["checkpoint"]["name"] == "checkpoint-200"
    assert document["trainer state"]["global_step"] == document["schedule"]["last_epoch"] == 200


def test_numbers_that_json_has_no_word_for_are_texts(audit: Audit, run: str) -> None:
    checkpoint = f"{run}/checkpoint-300"
    edit_arguments(checkpoint, learning_rate=float("nan"))
    edit_scheduler(checkpoint, _last_lr=[float("inf")] * 2)
    edit_json(f"{checkpoint}/adapter_config.json", target_modules=[float("-inf")])
    document = json.loads(audit("show", checkpoint, "--format", "json").out, parse_constant=pytest.fail)
    assert document["schedule"]["learning rate now"] == "inf"
    assert document["training arguments"]["learning_rate"] == "nan"
    assert document["adapter default"]["target_modules"] == ["-inf"]


@pytest.mark.parametrize("command", ["list", "show"])
def test_without_a_checkpoint_there_is_nothing_to_show(audit: Audit, tmp_path: Path, command: str) -> None:
    assert "no checkpoint-N directory in it" in one_line(audit(command, str(tmp_path / "cwd")))
    assert "no such run" in one_line(audit(command, str(tmp_path / "nowhere")))
    assert "argument --format: invalid choice" in one_line(audit(command, ".", "--format", "xml"))
