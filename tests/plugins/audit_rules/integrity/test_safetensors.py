import os
import struct
from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run

RULE = "integrity/safetensors"
FILE = "adapter_model.safetensors"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run", (100, 200)), "checkpoint-200", FILE)


def run_of(path: Path) -> str:
    return str(path.parent.parent)


@pytest.mark.parametrize("lost", [1, 4, 1000])
def test_a_file_that_was_cut_off_is_one_finding_that_blocks(path: Path, lost: int) -> None:
    os.truncate(path, path.stat().st_size - lost)

    (finding,) = check(run_of(path), RULE)

    assert (finding.checkpoint, finding.file, finding.blocks_resume) == ("checkpoint-200", FILE, True)


def test_a_byte_after_the_end_is_found(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")

    assert len(check(run_of(path), RULE)) == 1


def test_tensors_that_overlap_are_found(path: Path) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = data[8 : 8 + length].replace(b'"data_offsets":[256,512]', b'"data_offsets":[  0,256]')
    assert header != data[8 : 8 + length]
    path.write_bytes(data[:8] + header + data[8 + length :])

    assert len(check(run_of(path), RULE)) == 1


def test_a_whole_file_passes(path: Path) -> None:
    assert outcome(run_of(path), RULE, "checkpoint-200").outcome is Outcome.PASS


def test_an_empty_file_is_the_finding_of_another_rule(path: Path) -> None:
    os.truncate(path, 0)

    assert check(run_of(path), RULE) == []
