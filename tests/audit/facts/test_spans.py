"""Which parts of a file the scan looks at."""

from pathlib import Path

import pytest

from audit.backend.protocol import Backend
from audit.facts.run import open_run
from audit.facts.spans import LORA_RUN, PAGE, spans_of, zero_run
from audit.formats.damage import Damage
from audit.formats.tensors import Tensor
from audit.formats.torch_archive import read_torch
from audit.manager import load
from audit.scan import Span
from audit.storage import BytesReader
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes, zip_bytes

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", (100,))


def spans(run: str, file: str) -> list[Span]:
    backends: tuple[Backend, ...] = tuple(load().backends)
    (checkpoint,) = open_run(run, backends).checkpoints
    found = checkpoint.files[file]
    return spans_of(found, checkpoint.holds_weights(found))


def test_a_safetensors_file_gives_its_tensors_in_the_order_of_the_file(run: str) -> None:
    found = spans(run, "adapter_model.safetensors")
    assert len(found) == 8
    assert found[0].name == NAME
    assert all(span.dtype == "F32" and span.crc is None for span in found)
    assert [span.offset for span in found] == sorted(span.offset for span in found)


def test_a_torch_archive_gives_its_records_with_their_checksums_and_types(run: str) -> None:
    found = {span.name: span for span in spans(run, "optimizer.pt")}
    assert found["data/0"].dtype == "F32"
    assert found["data.pkl"].dtype is None
    assert found["data.pkl"].crc
    assert all(span.zero_run == 0 for span in found.values())


def test_checksums_that_were_not_written_are_not_expected(run: str) -> None:
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(torch_archive_bytes({}, "optimizer", crc=False))
    assert {span.crc for span in spans(run, "optimizer.pt")} == {None}


def test_values_of_a_big_endian_archive_are_left_alone(run: str) -> None:
    values = {"a": FakeTensor("F32", (2,), b"?\x80\0\0" * 2)}
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(zip_bytes(_records(values)))
    assert {span.dtype for span in spans(run, "optimizer.pt")} == {None}


def _records(values: dict[str, FakeTensor]) -> dict[str, bytes]:
    """The records of an archive that a big-endian machine wrote."""
    reader = BytesReader(torch_archive_bytes(values, "optimizer"))
    archive = read_torch(reader)
    assert not isinstance(archive, Damage)
    found = {record.name: reader.read(record.offset, record.size) for record in archive.records.values()}
    return {**found, "optimizer/byteorder": b"big"}


def test_weights_in_a_torch_archive_are_looked_through_for_zeros(run: str) -> None:
    place = Path(run, "checkpoint-100")
    (place / "adapter_model.safetensors").unlink()
    values = {NAME: FakeTensor("F32", (4, 64), b"\0\0\x80?" * 256)}
    (place / "adapter_model.bin").write_bytes(torch_archive_bytes(values, "adapter_model"))
    found = {span.name: span for span in spans(run, "adapter_model.bin")}
    assert found["data/0"].zero_run == LORA_RUN


@pytest.mark.parametrize("name", ["trainer_state.json", "README.md"])
def test_other_files_have_no_spans(run: str, name: str) -> None:
    assert spans(run, name) == []


def test_a_damaged_file_has_no_spans(run: str) -> None:
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(b"PK\3\4 and no more")
    assert spans(run, "optimizer.pt") == []


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        (NAME, (4, 64), LORA_RUN),
        (NAME.replace("lora_A", "lora_B"), (64, 4), LORA_RUN),
        (NAME.replace("lora_A", "lora_B"), (32, 2), 64),
        ("model.layers.0.mlp.up_proj.weight", (64, 64), PAGE),
        ("model.embed_tokens.weight", (64, 64), 0),
        ("base_model.model.lm_head.lora_B.weight", (64, 4), 0),
        ("base_model.model.model.embed_tokens.lora_embedding_A", (4, 64), 0),
        ("model.layers.0.block_sparse_moe.experts.0.w1.weight", (64, 64), 0),
        ("model.norm.weight", (4096,), 0),
    ],
)
def test_how_many_zeros_are_too_many_depends_on_the_tensor(name: str, shape: tuple[int, ...], expected: int) -> None:
    count = 4
    for size in shape:
        count *= size
    assert zero_run(Tensor(name, "F32", shape, 0, count)) == expected
