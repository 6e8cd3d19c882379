import os
import pickle
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import BytesReader
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from audit.testing.torch_files import Made, rebuild, torch_archive_bytes, zip_bytes

RULE = "integrity/archive"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run", (100, 200)), "checkpoint-200")


def run_of(checkpoint: Path) -> str:
    return str(checkpoint.parent)


def flip(path: Path, record: str, at: int = 0) -> None:
    data = bytearray(path.read_bytes())
    archive = read_torch(BytesReader(bytes(data)))
    assert isinstance(archive, TorchArchive)
    data[archive.records[record].offset + at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_file_that_was_cut_off_blocks(checkpoint: Path, name: str) -> None:
    os.truncate(checkpoint / name, (checkpoint / name).stat().st_size // 2)

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.checkpoint, finding.file, finding.blocks_resume) == ("checkpoint-200", name, True)


def test_a_flipped_bit_is_found_by_the_crc_that_torch_does_not_compare(checkpoint: Path) -> None:
    flip(checkpoint / "optimizer.pt", "data/3", 2)

    (finding,) = check(run_of(checkpoint), RULE)

    assert finding.message == "optimizer.pt was changed after it was written: the CRC of data/3 is wrong"
    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, True)


def test_two_flipped_bits_in_one_file_are_one_finding(checkpoint: Path) -> None:
    flip(checkpoint / "optimizer.pt", "data/3")
    flip(checkpoint / "optimizer.pt", "data/5")

    (finding,) = check(run_of(checkpoint), RULE)

    assert "data/3 and 1 more" in finding.message


def test_a_flipped_bit_is_not_looked_for_at_quick_depth(checkpoint: Path) -> None:
    flip(checkpoint / "optimizer.pt", "data/3")

    assert check(run_of(checkpoint), RULE, depth="quick") == []


def test_sound_files_pass(checkpoint: Path) -> None:
    assert outcome(run_of(checkpoint), RULE, "checkpoint-200").outcome is Outcome.PASS


def test_a_pickle_that_is_no_archive_has_no_crcs(checkpoint: Path) -> None:
    (checkpoint / "notes.pkl").write_bytes(pickle.dumps({"note": 1}))

    assert outcome(run_of(checkpoint), RULE, "checkpoint-200").outcome is Outcome.PASS


def test_files_without_crcs_are_not_applicable_and_the_outcome_says_so(checkpoint: Path) -> None:
    path = checkpoint / "scheduler.pt"
    path.write_bytes(zip_bytes_without_crc(path))

    found = outcome(run_of(checkpoint), RULE, "checkpoint-200")

    assert found.outcome is Outcome.NOT_APPLICABLE
    assert "scheduler.pt was written without CRCs" in (found.reason or "")
    assert check(run_of(checkpoint), RULE) == []


def zip_bytes_without_crc(path: Path) -> bytes:
    data = path.read_bytes()
    archive = read_torch(BytesReader(data))
    assert isinstance(archive, TorchArchive)
    return zip_bytes(
        {record.name: data[record.offset : record.offset + record.size] for record in archive.records.values()},
        crc=False,
    )


def test_damage_to_the_training_arguments_does_not_block(checkpoint: Path) -> None:
    os.truncate(checkpoint / "training_args.bin", 1000)

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, False)


def test_an_archive_with_something_else_in_it_is_found(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").write_bytes(torch_archive_bytes([1, 2, 3], "optimizer"))

    (finding,) = check(run_of(checkpoint), RULE)

    assert finding.message.startswith("optimizer.pt is not an optimizer's state")


def test_an_attack_in_place_of_a_state_is_the_finding_of_another_rule(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").write_bytes(torch_archive_bytes(Made("os.system", ("true",)), "optimizer"))
    (checkpoint / "rng_state.pth").write_bytes(torch_archive_bytes(Made("os.system", ("true",)), "rng_state"))

    assert check(run_of(checkpoint), RULE) == []
    assert len(check(run_of(checkpoint), "security/unsafe-pickle")) == 2


def test_random_states_that_are_none_are_found(checkpoint: Path) -> None:
    (checkpoint / "rng_state.pth").write_bytes(torch_archive_bytes([1, 2, 3], "rng_state"))

    (finding,) = check(run_of(checkpoint), RULE)

    assert finding.message.startswith("rng_state.pth")


def test_a_file_of_nobody_is_a_warning_and_a_bin_of_nobody_is_nothing(checkpoint: Path) -> None:
    (checkpoint / "extra.pt").write_bytes(b"not a torch file")
    (checkpoint / "extra.bin").write_bytes(b"not a torch file")

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.file, finding.severity, finding.blocks_resume) == ("extra.pt", Severity.WARNING, False)


@pytest.mark.parametrize(
    ("name", "other", "part"),
    [
        ("scheduler.pt", "optimizer.pt", "is not a scheduler's state: it is that of an optimizer"),
        ("scheduler.pt", "scaler.pt", "is not a scheduler's state: it is that of a gradient scaler"),
        ("scaler.pt", "scheduler.pt", "is not a gradient scaler's state: it has no scale"),
        ("optimizer.pt", "scheduler.pt", "is not an optimizer's state"),
        ("rng_state.pth", "optimizer.pt", "has no valid state of the Python generator: it is missing"),
    ],
)
def test_a_sound_file_of_another_role_in_its_place_blocks(tmp_path: Path, name: str, other: str, part: str) -> None:
    checkpoint = Path(make_run(tmp_path / "run", (100, 200), fp16=True), "checkpoint-200")
    (checkpoint / name).write_bytes((checkpoint / other).read_bytes())

    findings = [finding for finding in check(run_of(checkpoint), RULE) if finding.file == name]

    assert [(finding.checkpoint, finding.blocks_resume) for finding in findings] == [("checkpoint-200", True)]
    assert part in findings[0].message


@pytest.mark.parametrize("other", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_state_in_place_of_the_training_arguments_does_not_block(checkpoint: Path, other: str) -> None:
    (checkpoint / "training_args.bin").write_bytes((checkpoint / other).read_bytes())

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.file, finding.blocks_resume) == ("training_args.bin", False)
    assert "has no training arguments" in finding.message


def records_changed(path: Path, **changes: bytes | None) -> None:
    """Write the archive again with right CRCs, records changed or left out."""
    data = path.read_bytes()
    archive = read_torch(BytesReader(data))
    assert isinstance(archive, TorchArchive)
    records = {name: data[record.offset :][: record.size] for name, record in archive.records.items()}
    kept = {**records, **changes}
    path.write_bytes(zip_bytes({f"{archive.root}/{name}": body for name, body in kept.items() if body is not None}))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize(
    ("record", "content", "words"),
    [
        ("version", None, "it has no record version"),
        ("version", b"", "has the archive version ''"),
        ("version", b"999", "torch reads versions 1 to 10"),
        ("byteorder", b"middle", "its byteorder is 'middle'"),
        ("byteorder", b"", "its byteorder is ''"),
        (".storage_alignment", b"many", "not a number"),
        ("constants.pkl", b"\x80\x02N.", "torch reads it as TorchScript"),
    ],
)
def test_an_archive_that_torch_refuses_blocks(
    checkpoint: Path, name: str, record: str, content: bytes | None, words: str
) -> None:
    records_changed(checkpoint / name, **{record: content})

    (finding,) = check(run_of(checkpoint), RULE)

    assert words in finding.message
    assert (finding.file, finding.severity, finding.blocks_resume) == (name, Severity.ERROR, True)


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_a_pickle_protocol_that_torch_cannot_load_blocks(checkpoint: Path, protocol: int) -> None:
    value = {"base_lrs": [1e-4, 1e-4], "last_epoch": 200, "_step_count": 201, "lr_lambdas": [{}, {}], "more": 70000}
    (checkpoint / "scheduler.pt").write_bytes(torch_archive_bytes(value, "scheduler", protocol=protocol))

    (finding,) = check(run_of(checkpoint), RULE)

    assert "cannot be loaded by a resume (weights_only): its pickle uses the instruction 0x" in finding.message
    assert (finding.file, finding.blocks_resume) == ("scheduler.pt", True)


def test_training_arguments_may_be_of_any_protocol(checkpoint: Path) -> None:
    path = checkpoint / "training_args.bin"
    archive = read_torch(BytesReader(path.read_bytes()))
    assert isinstance(archive, TorchArchive)
    value = rebuild(BytesReader(path.read_bytes()), archive, archive.value)
    path.write_bytes(torch_archive_bytes(value, "training_args", protocol=4))

    assert check(run_of(checkpoint), RULE) == []
