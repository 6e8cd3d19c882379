"""What counts as proven."""

import os
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.judging.proving import newest_proven, prove, seal_now
from audit.manager import load
from audit.options import Options
from audit.testing.runs import make_run


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
