"""files/missing-scaler."""

from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, registry
from audit.testing.runs import edit_arguments, edit_state, make_run
from tests.plugins.audit_rules.files.editing import judged, names, remove

RULE = "files/missing-scaler"
ALL = (100, 200, 300)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", fp16=True, _n_gpu=1)


def change_all(run: str, **arguments: object) -> None:
    for step in ALL:
        edit_arguments(f"{run}/checkpoint-{step}", **arguments)


def test_an_fp16_run_owes_its_scaler(run: str) -> None:
    remove(run, "scaler.pt")
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", "scaler.pt")
    assert (finding.severity, finding.blocks_resume) == (Severity.WARNING, False)
    assert finding.message == "scaler.pt is not there: the fp16 loss scale would restart"
    assert registry().rule(RULE).blocks == "blocks resuming with --exact"


def test_it_is_owed_where_the_other_checkpoints_of_the_session_have_it(run: str) -> None:
    for step in ALL:
        edit_state(f"{run}/checkpoint-{step}", remove=["best_global_step"])  # as before 4.50: nothing else tells
    remove(run, "scaler.pt")
    assert [finding.checkpoint for finding in check(run, RULE)] == ["checkpoint-200"]


def test_transformers_4_31_to_4_49_never_wrote_it(run: str) -> None:
    for step in ALL:
        edit_state(f"{run}/checkpoint-{step}", remove=["best_global_step"])
        remove(run, "scaler.pt", checkpoint=f"checkpoint-{step}")
    assert not check(run, RULE)


@pytest.mark.parametrize(
    "arguments",
    [
        {"fp16": False},
        {"use_cpu": True},
        {"_n_gpu": 0},
        {"half_precision_backend": "apex"},
        {"bf16": True},
        {"deepspeed": "ds_config.json"},
    ],
)
def test_other_runs_owe_none(run: str, arguments: dict[str, object]) -> None:
    change_all(run, **arguments)
    for step in ALL:
        remove(run, "scaler.pt", checkpoint=f"checkpoint-{step}")
    assert not check(run, RULE)


def test_a_sound_fp16_run_passes(run: str) -> None:
    assert not judged(run)


def test_another_session_without_fp16_owes_none(run: str) -> None:
    edit_arguments(f"{run}/checkpoint-300", fp16=False)
    remove(run, "scaler.pt", checkpoint="checkpoint-300")
    assert not check(run, RULE)


def test_a_placeholder_in_its_place_is_another_finding(run: str) -> None:
    scaler = Path(run, "checkpoint-200", "scaler.pt")
    scaler.rename(f"{scaler}.part_aa")
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", "scaler.pt.part_aa")]
