"""``latest`` alone decides which of DeepSpeed's directories is loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.judging.guard import consult
from audit.options import Options
from audit.testing.judging import check, report
from tests.zero import make_zero, write_tag

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (Path.unlink, "latest is not there"),
    "empty": (lambda path: path.write_text(""), "latest is empty"),
    "zero bytes": (lambda path: path.write_bytes(bytes(13)), "latest "),
    "of another name": (lambda path: path.write_text("global_step7"), "latest names global_step7, which is not there"),
    "a file": (lambda path: path.write_text("trainer_state.json"), "latest names trainer_state.json"),
    "words": (lambda path: path.write_text("the newest one"), "latest names no directory"),
}


@pytest.mark.parametrize("damage", BAD)
def test_a_file_that_names_no_state_blocks(tmp_path: Path, damage: str) -> None:
    run = make_zero(tmp_path / "run")
    change, said = BAD[damage]
    change(run / "checkpoint-200" / "latest")

    (finding,) = check(str(run), "deepspeed/latest")

    assert finding.message.startswith(said)
    assert finding.checkpoint == "checkpoint-200"
    assert consult(str(run), options=Options(settle_seconds=0)).decision.checkpoint == "checkpoint-100"


def test_a_sound_run_has_no_finding_and_is_judged(tmp_path: Path) -> None:
    found = report(str(make_zero(tmp_path / "run")))

    assert found.findings == ()
    assert [item.judged for item in found.checkpoints] == [True, True]


def test_another_directory_beside_the_named_one_is_not_loaded(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    (run / "checkpoint-200" / "global_step201").mkdir()
    write_tag(run / "checkpoint-200", 999)

    assert report(str(run)).findings == ()


def test_an_engine_that_is_behind_the_trainer_is_sound(tmp_path: Path) -> None:
    assert report(str(make_zero(tmp_path / "run", lag=1))).findings == ()


def test_the_model_for_deployment_beside_it_does_not_block(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    (run / "checkpoint-200" / "model.safetensors").write_bytes(b"")

    assert consult(str(run), options=Options(settle_seconds=0)).decision.checkpoint == "checkpoint-200"
