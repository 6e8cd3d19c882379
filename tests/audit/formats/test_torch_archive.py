import pickle
import struct
import zipfile
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage, Kind
from audit.formats.pickles import TensorRef
from audit.formats.torch_archive import TorchArchive, read_torch, scalar, storages, tensors
from audit.storage import BytesReader
from audit.testing.torch_files import FakeTensor, Made, Name, torch_archive_bytes, zip_bytes
from tests.examples import examples

STEP = FakeTensor("F32", (), struct.pack("<f", 7.0))
MATRIX = FakeTensor("F32", (2, 3), struct.pack("<6f", *range(6)))
SOUND = torch_archive_bytes({"step": STEP, "matrix": MATRIX, "again": MATRIX, "lr": 0.1}, "optimizer")


def loaded(data: bytes, strict: bool = True) -> TorchArchive:
    found = read_torch(BytesReader(data), strict)
    assert isinstance(found, TorchArchive), found
    return found


def damage(data: bytes, strict: bool = False) -> Damage:
    found = read_torch(BytesReader(data), strict)
    assert isinstance(found, Damage), found
    return found


def test_what_was_written_is_read() -> None:
    archive = loaded(SOUND)
    assert archive.root == "optimizer"
    assert archive.crc_written
    assert archive.byteorder == "little"
    assert archive.value["lr"] == 0.1
    assert archive.value["matrix"] == TensorRef("F32", (2, 3), (3, 1), "1", 0, 6)
    assert archive.value["again"] == archive.value["matrix"]
    assert scalar(BytesReader(SOUND), archive, archive.value["step"]) == 7.0
    assert scalar(BytesReader(SOUND), archive, archive.value["matrix"]) is None
    assert {key: dtype for key, (dtype, _) in storages(archive).items()} == {"0": "F32", "1": "F32"}


def test_tensors_lie_where_the_records_are() -> None:
    for name, tensor in tensors(loaded(SOUND)).items():
        expected = STEP if name == "step" else MATRIX
        assert SOUND[tensor.offset : tensor.offset + tensor.nbytes] == expected.data


def test_records_are_placed_without_reading_their_headers() -> None:
    assert loaded(SOUND, strict=False).records == loaded(SOUND, strict=True).records


def test_records_agree_with_zipfile() -> None:
    with zipfile.ZipFile(BytesIO(SOUND)) as archive:
        assert archive.testzip() is None
        names = {info.filename: info.CRC for info in archive.infolist()}
    assert {record.name: record.crc for record in loaded(SOUND).records.values()} == names


def test_an_archive_written_by_zipfile_is_read_with_its_true_offsets() -> None:
    file = BytesIO()
    with zipfile.ZipFile(BytesIO(SOUND)) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    data = file.getvalue()
    assert scalar(BytesReader(data), loaded(data, strict=False), loaded(data).value["step"]) == 7.0


def test_crcs_that_are_all_zero_were_not_written() -> None:
    assert not loaded(torch_archive_bytes({"a": STEP}, crc=False)).crc_written


@given(st.data())
@examples(400)
def test_flipped_bytes_give_an_archive_or_a_damage(data: Any) -> None:
    raw = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for strict in (False, True):
        found = read_torch(BytesReader(bytes(raw)), strict)
        assert isinstance(found, TorchArchive | Damage)


@given(st.integers(0, len(SOUND) - 1))
@examples(200)
def test_a_cut_archive_is_damaged(end: Any) -> None:
    assert damage(SOUND[:end]).kind in (Kind.MALFORMED, Kind.EMPTY)


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 4096))
@examples(200)
def test_zeroed_bytes_never_raise(start: Any, length: Any) -> None:
    raw = SOUND[:start] + bytes(min(length, len(SOUND) - start)) + SOUND[start + length :]
    assert isinstance(read_torch(BytesReader(raw), strict=True), TorchArchive | Damage)


@given(st.binary(max_size=300))
@examples(200)
def test_random_bytes_are_damaged(raw: Any) -> None:
    assert isinstance(read_torch(BytesReader(raw)), Damage)
    assert isinstance(read_torch(BytesReader(b"PK\x03\x04" + raw)), Damage)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", Kind.EMPTY, "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", Kind.PLACEHOLDER, "git-lfs"),
        (bytes(500), Kind.MALFORMED, "begins with zeros"),
        (SOUND[:-100] + bytes(100), Kind.MALFORMED, "is truncated"),
        (SOUND + b"tail", Kind.MALFORMED, "4 bytes after the end"),
        (SOUND[:64] + SOUND[128:], Kind.MALFORMED, "are missing or were added"),
        (b"hello world", Kind.MALFORMED, "is not a torch archive"),
        (pickle.dumps({"a": 1}), Kind.MALFORMED, "bare pickle"),
        (b"cos\nsystem\n(S'ls'\ntR.", Kind.UNSAFE, "os.system"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x02M\xe9\x03.", Kind.MALFORMED, "before version 1.6"),
        (zip_bytes({"archive/version": b"3\n"}), Kind.MALFORMED, "no data.pkl"),
        (zip_bytes({"a/data.pkl": b"\x80\x02N.", "b/extra": b""}), Kind.MALFORMED, "outside a/"),
        (zip_bytes({"a/data.pkl": b"\x80\x02cos\nsystem\n)R"}), Kind.UNSAFE, "os.system"),
    ],
)
def test_each_damage_says_what_it_is(data: Any, kind: Any, words: Any) -> None:
    found = damage(data)
    assert found.kind is kind
    assert words in found.message


def compressed(size: int) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(size))
    return file.getvalue()


def test_a_compressed_record_is_refused_and_a_bomb_is_oversized() -> None:
    assert "never compresses" in damage(compressed(1000)).message
    assert damage(compressed(1000)).kind is Kind.MALFORMED
    assert damage(compressed(50 << 20)).kind is Kind.OVERSIZED


def test_two_records_of_one_name_are_refused() -> None:
    data = zip_bytes({"a/data.pkl": b"\x80\x02N.", "a/data.pk1": b"\x80\x02N."}).replace(b"data.pk1", b"data.pkl")
    assert "two records named" in damage(data).message


def test_overlapping_records_are_refused() -> None:
    raw = bytearray(zip_bytes({"a/data.pkl": b"\x80\x02N.", "a/x": b"1"}))
    second = raw.rfind(b"PK\x01\x02")
    raw[second + 42 : second + 46] = bytes(4)
    assert "overlap" in damage(bytes(raw)).message


def test_an_encrypted_record_is_refused() -> None:
    raw = bytearray(zip_bytes({"a/data.pkl": b"\x80\x02N."}))
    entry = raw.rfind(b"PK\x01\x02")
    raw[entry + 8] |= 1
    assert "encrypted" in damage(bytes(raw)).message


def test_a_header_that_contradicts_the_directory_is_seen_by_a_strict_reading() -> None:
    raw = bytearray(SOUND)
    raw[SOUND.find(b"PK\x03\x04", 64) + 30] ^= 1
    assert "contradicts" in damage(bytes(raw), strict=True).message


def storage_call(shape: tuple[int, ...], key: str, numel: int) -> bytes:
    body = f"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00{key}X\x03\x00\x00\x00cpuK".encode()
    sizes = pickle.dumps(shape, 2)[2:-1]
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + body + bytes([numel]) + b"tQK\x00" + sizes + sizes + b"tR."


def test_a_storage_that_is_missing_or_short_is_named() -> None:
    data = storage_call((2,), "0", 2)
    assert "data/0 that its pickle names is missing" in damage(zip_bytes({"a/data.pkl": data})).message
    short = zip_bytes({"a/data.pkl": data, "a/data/0": bytes(7)})
    assert "data/0 has 7 of 8 bytes" in damage(short).message


def test_a_tensor_must_lie_inside_its_storage() -> None:
    data = storage_call((200, 2), "0", 2)
    assert "extends past its storage" in damage(zip_bytes({"a/data.pkl": data, "a/data/0": bytes(8)})).message


def test_objects_of_unknown_classes_are_read_by_name() -> None:
    archive = loaded(torch_archive_bytes(Made("my.module.Config", state={"dtype": Name("torch.bfloat16")})))
    assert archive.names == ("my.module.Config", "torch.bfloat16")


def test_scalars_of_every_number_type_are_read() -> None:
    for dtype, code in (("F64", "d"), ("F16", "e"), ("I64", "q"), ("I32", "i"), ("U8", "B"), ("BOOL", "?")):
        data = torch_archive_bytes(FakeTensor(dtype, (1,), struct.pack(f"<{code}", 1)))
        archive = loaded(data)
        assert scalar(BytesReader(data), archive, archive.value) == 1
    data = torch_archive_bytes(FakeTensor("BF16", (), b"\x80\x3f"))
    assert scalar(BytesReader(data), loaded(data), loaded(data).value) == 1.0


class Distant(BytesReader):
    """A file whose reads are round trips: it notes what is fetched, and what is read without having been fetched."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.fetched: list[tuple[int, int]] = []
        self.missed: list[tuple[int, int]] = []

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.fetched += ranges

    def read(self, offset: int, length: int) -> bytes:
        if not any(start <= offset and offset + length <= start + size for start, size in self.fetched):
            self.missed.append((offset, length))
        return super().read(offset, length)


def steps_of(values: list[float], crc: bool = True) -> bytes:
    state = {number: FakeTensor("F32", (), struct.pack("<f", value)) for number, value in enumerate(values)}
    return torch_archive_bytes(state, crc=crc)


@pytest.mark.parametrize(
    ("values", "crc", "read"),
    [([7.0] * 9, True, 1), ([7.0, 8.0, 7.0, 9.0], True, 3), ([7.0] * 4, False, 4)],
    ids=["equal", "three values", "no CRC"],
)
def test_of_a_distant_file_one_of_several_equal_numbers_is_read(values: list[float], crc: bool, read: int) -> None:
    reader = Distant(steps_of(values, crc))

    archive = read_torch(reader)

    assert isinstance(archive, TorchArchive)
    assert [archive.scalars[ref] for ref in archive.refs] == values
    places = {archive.records[f"data/{number}"].offset for number in range(len(values))}
    assert len([start for start, size in reader.fetched if start in places and size == 4]) == read


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_read_of_a_distant_file_was_asked_for_at_once(strict: bool) -> None:
    reader = Distant(SOUND)
    near = loaded(SOUND, strict)

    assert read_torch(reader, strict) == near
    # The beginning, the end and the directory say where all else is.
    assert len(reader.missed) == 3


def test_a_file_on_the_disk_is_read_number_by_number() -> None:
    data = bytearray(steps_of([7.0, 7.0]))
    second = loaded(bytes(data)).records["data/1"].offset
    data[second : second + 4] = struct.pack("<f", 8.0)

    assert list(loaded(bytes(data)).scalars.values()) == [7.0, 8.0]
