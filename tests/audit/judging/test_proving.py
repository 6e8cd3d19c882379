"""What counts as proven."""

import os
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.judging.proving import newest_proven, prove, seal_now
from audit.manager import load
from audit.options import Options
from audit.retention.pins import pin
from audit.testing.runs import edit_state, make_run


@pytest.fixture
def path(tmp_path: Path) -> str:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    return run


def test_a_few_selected_rules_or_a_quick_look_prove_nothing_so_all_of_it_is_done(path: str) -> None:
    options = Options(depth="quick", select=("steps",))

    proof = prove(path, options, load())

    assert [item.name for item in proof.proven] == ["checkpoint-100", "checkpoint-200"]
    assert [item.name for item in proof.report.checkpoints if item.sealed] == ["checkpoint-100", "checkpoint-200"]
    assert newest_proven(proof, options, load()).name == "checkpoint-200"


def test_without_recording_nothing_is_left_in_the_run(path: str) -> None:
    assert len(prove(path, Options(), load(), record=False).proven) == 2
    assert ".audit" not in os.listdir(path)


def test_what_is_not_proven_has_its_reason_the_newest_first(path: str) -> None:
    os.makedirs(f"{path}/checkpoint-400")
    edit_state(f"{path}/checkpoint-100", global_step=101)

    proof = prove(path, Options(), load())

    assert [item.name for item in proof.proven] == ["checkpoint-200"]
    assert [name for name, _ in proof.unproven()] == ["checkpoint-400", "checkpoint-300", "checkpoint-100"]
    over = proof.passed_over(proof.proven[-1])
    assert over[0] == "passed over checkpoint-400: in progress"
    assert over[1].startswith("passed over checkpoint-300: optimizer.pt is not there")
    assert over[1].endswith("(files/missing-optimizer)")
    assert len(over) == 2


def test_of_a_pin_the_original_is_named_if_it_is_broken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    prove(run, Options(), load())
    pin(run, "checkpoint-300")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()

    proof = prove(run, Options(), load())
    chosen = newest_proven(proof, Options(), load())

    assert chosen.name == "checkpoint-300"
    assert [text.partition(":")[0] for text in proof.passed_over(chosen)] == ["passed over checkpoint-300"]


def test_the_digests_are_those_of_the_seal(path: str) -> None:
    first = seal_now(prove(path, Options(), load()).proven[-1])
    again = prove(path, Options(), load()).proven[-1]

    assert again.seal.files == first.files == seal_now(again).files
    assert again.seal.newest == first.newest
    assert set(first.files) == set(os.listdir(os.path.join(path, "checkpoint-200")))


def test_a_file_without_a_digest_is_named(path: str) -> None:
    checkpoint = prove(path, Options(), load()).proven[-1]
    checkpoint.give({"scan": {path: found for path, found in checkpoint.scan.items() if path != "optimizer.pt"}})

    with pytest.raises(AuditError, match=r"checkpoint-200/optimizer\.pt: could not be read, so it has no digest"):
        seal_now(checkpoint)
