"""The scan against what it stands for: numpy.isfinite, zlib.crc32, a search by regular expression, BLAKE3 in one go."""

import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from audit.scan import FileScan, ScanJob, Span, SpanScan, scan_files
from audit.scan.floats import FORMATS, to_float
from audit.storage import BytesReader

BLOCKS = st.sampled_from([8, 16, 24, 64, 120, 1024, 1 << 20])
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def scan(data: bytes, spans: list[Span], block: int = 1 << 20) -> FileScan:
    job = ScanJob("file", lambda: BytesReader(data), len(data), spans)
    return scan_files([job], block=block)["file"]


def scan_span(data: bytes, dtype: str | None, block: int = 1 << 20, zero_run: int = 0) -> SpanScan:
    return scan(data, [Span("all", 0, len(data), dtype, zero_run=zero_run)], block).spans["all"]


def decode(data: bytes, dtype: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of ``data`` as float64, by a way that shares nothing with the scan."""
    with np.errstate(invalid="ignore"):  # of signalling NaN
        return _decode(data, dtype)


def _decode(data: bytes, dtype: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    whole = data[: len(data) // SIZES[dtype] * SIZES[dtype]]
    if dtype == "BF16":
        raw = np.frombuffer(whole, "<u2").astype("<u4") << 16
        return raw.astype("<u4").view("<f4").astype(np.float64)
    if dtype == "F8_E5M2":
        return (np.frombuffer(whole, "u1").astype("<u2") << 8).astype("<u2").view("<f2").astype(np.float64)
    if dtype == "F8_E4M3":
        return np.array([_e4m3(byte) for byte in whole], np.float64)
    return np.frombuffer(whole, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float64)


def _e4m3(byte: int) -> float:
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, mantissa = byte >> 3 & 15, byte & 7
    if exponent == 15 and mantissa == 7:
        return float("nan")
    if exponent == 0:
        return sign * mantissa / 8 * 2.0**-6
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


def expect_values(found: SpanScan, data: bytes, dtype: str) -> None:
    """Hold ``found`` against numpy's own tests of the same values."""
    values = decode(data, dtype)
    finite = np.isfinite(values)
    assert found.nonfinite == (not finite.all())
    assert found.negative == bool((values < 0).any())
    assert found.all_zero == (len(values) > 0 and bool((values == 0).all()))
    assert found.peak == np.abs(values[finite]).max(initial=0)


def longest_run(data: bytes, shortest: int) -> tuple[int, int]:
    """Length and offset of the first longest run of zero bytes, (0, 0) if it is shorter than ``shortest``."""
    runs = [(match.end() - match.start(), -match.start()) for match in re.finditer(rb"\0+", data)]
    length, at = max(runs, default=(0, 0))
    return (length, -at) if shortest and length >= shortest else (0, 0)


def special_values() -> st.SearchStrategy[bytes]:
    """Bytes in which zeros, infinities, NaN and signs of all formats are frequent."""
    words = ["00", "0000", "0080", "80", "7f", "ff", "7c", "fc", "807f", "80ff", "007c", "00fc", "0000807f", "000080ff"]
    words += ["0000c07f", "00" * 8, "000000000000f07f", "000000000000f0ff", "01", "3f803f80"]
    pieces = st.one_of(st.sampled_from([bytes.fromhex(word) for word in words]), st.binary(max_size=12))
    return st.lists(pieces, max_size=60).map(b"".join)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[bytes, list[Span]]:
    """A file and spans over it, with gaps and without, aligned or not."""
    data = b"".join(draw(st.lists(special_values(), min_size=1, max_size=4)))
    data += bytes(draw(st.sampled_from([0, 0, 15, 40, 300])))
    data += draw(st.binary(max_size=9))
    spans: list[Span] = []
    at = 0
    while at < len(data) and len(spans) < 12:
        at += draw(st.sampled_from([0, 0, 1, 4, 8, 30]))
        length = draw(st.integers(0, max(0, len(data) - at)))
        dtype = draw(st.sampled_from([*SIZES, None, "I64"]))
        crc = draw(st.sampled_from([None, 1]))
        spans.append(Span(f"s{len(spans)}", at, length, dtype, crc, draw(st.sampled_from([0, 16, 17, 64]))))
        at += length
    return data, [span for span in spans if span.offset + span.length <= len(data)]


@given(layouts(), BLOCKS)
def test_any_layout_in_any_block_size_gives_what_each_check_gives_alone(
    layout: tuple[bytes, list[Span]], block: int
) -> None:
    data, spans = layout
    found = scan(data, spans, block)
    assert (found.digest, found.size, found.bytes_read, found.error) == (
        blake3(data).hexdigest(),
        len(data),
        len(data),
        None,
    )
    assert list(found.spans) == [span.name for span in spans]
    for span in spans:
        part = data[span.offset : span.offset + span.length]
        result = found.spans[span.name]
        assert result.complete
        assert result.crc == (None if span.crc is None else zlib.crc32(part))
        length, at = longest_run(part, span.zero_run)
        assert (result.zero_run, result.zero_run_at) == (length, at + span.offset if length else 0)
        if span.dtype in SIZES:
            expect_values(result, part, span.dtype)
        else:
            assert result[:4] == (False, False, False, 0.0)


@given(st.sampled_from(sorted(SIZES)), special_values(), BLOCKS)
def test_values_of_every_format_are_judged_as_numpy_judges_them(dtype: str, data: bytes, block: int) -> None:
    expect_values(scan_span(data, dtype, block), data, dtype)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_every_bit_pattern_of_a_short_format_is_judged_as_numpy_judges_it(dtype: str) -> None:
    size = SIZES[dtype]
    data = np.arange(1 << 8 * size, dtype=f"<u{size}").tobytes()
    spans = [Span(str(i), i, size, dtype) for i in range(0, len(data), size)]
    values = decode(data, dtype)
    for value, found in zip(values, scan(data, spans, 4096).spans.values(), strict=True):
        finite = bool(np.isfinite(value))
        assert found[:4] == (not finite, bool(value < 0), bool(value == 0), abs(value) if finite else 0.0)


@pytest.mark.parametrize("dtype", sorted(SIZES))
def test_the_largest_magnitude_of_a_format_is_its_known_one(dtype: str) -> None:
    known = {"F64": np.finfo("f8").max, "F32": np.finfo("f4").max, "F16": 65504.0, "BF16": (2 - 2**-7) * 2.0**127}
    known |= {"F8_E4M3": 448.0, "F8_E5M2": 57344.0}
    assert to_float(dtype, FORMATS[dtype].nonfinite - 1) == known[dtype]


@given(
    st.lists(st.tuples(st.integers(0, 90), st.binary(min_size=1, max_size=3)), max_size=12),
    st.sampled_from([16, 17, 23, 24, 31, 32, 64]),
    st.sampled_from([8, 16, 32, 64, 1 << 20]),
)
def test_the_longest_run_of_zeros_is_found_wherever_blocks_cut_it(
    pieces: list[tuple[int, bytes]], shortest: int, block: int
) -> None:
    data = b"".join(bytes(zeros) + rest for zeros, rest in pieces)
    found = scan_span(data, None, block, shortest)
    assert (found.zero_run, found.zero_run_at) == longest_run(data, shortest)


def test_a_lost_page_in_noise_is_found_over_a_block_border() -> None:
    noise = np.random.default_rng(7).integers(1, 256, 3 << 20, dtype=np.uint8)
    noise[(1 << 20) - 1000 : (1 << 20) + 3096] = 0
    found = scan_span(noise.tobytes(), "F32", zero_run=4096)
    assert (found.zero_run, found.zero_run_at) == (4096, (1 << 20) - 1000)
    assert scan_span(noise.tobytes(), "F32", zero_run=4097).zero_run == 0


def test_a_file_of_zeros_is_one_run_and_all_zero() -> None:
    found = scan_span(bytes(10_000), "F32", 64, 4096)
    assert (found.all_zero, found.zero_run, found.zero_run_at, found.peak) == (True, 10_000, 0, 0.0)


def test_many_files_on_many_threads_give_the_same_as_each_alone() -> None:
    make = np.random.default_rng(3)
    contents = {i: make.bytes(size) for i, size in enumerate([9 << 20, 3 << 20, 0, 1, 5000, (1 << 20) + 1])}
    spans = {
        i: [Span(str(k), k, 9973, "F32", 0) for k in range(3, len(data) - 9973, 10_007)] for i, data in contents.items()
    }
    jobs = [ScanJob(i, partial(BytesReader, data), len(data), spans[i]) for i, data in contents.items()]
    together = scan_files(jobs, threads=4, block=1 << 16)
    for i, data in contents.items():
        assert together[i] == scan(data, spans[i])
        assert together[i].digest == blake3(data).hexdigest()
        assert all(together[i].spans[s.name].crc == zlib.crc32(data[s.offset : s.offset + s.length]) for s in spans[i])


class Changing(BytesReader):
    """A reader of a file that is cut or grows after so many bytes were read from it, or fails."""

    def __init__(self, data: bytes, after: int, change: Callable[[bytes], bytes]) -> None:
        super().__init__(data)
        self.after, self.change, self.closed = after, change, 0

    def read_into(self, offset: int, buffer: memoryview) -> int:
        if offset >= self.after:
            self.data = self.change(self.data)
        return super().read_into(offset, buffer)

    def __exit__(self, *exc: object) -> None:
        self.closed += 1


def same(reader: Changing) -> Changing:
    return reader


def refuse(data: bytes) -> bytes:
    raise OSError(5, "Input/output error")


def crash(data: bytes) -> bytes:
    raise ZeroDivisionError


@given(st.integers(1, 5000), st.integers(0, 4999), BLOCKS)
def test_a_file_cut_while_it_is_read_gives_an_error_and_incomplete_spans(size: int, keep: int, block: int) -> None:
    keep = min(keep, size - 1)
    reader = Changing(b"x" * size, 0, lambda data: data[:keep])
    spans = [Span("first", 0, 1), Span("last", size - 1, 1)] if size > 1 else [Span("last", 0, 1)]
    found = scan_files([ScanJob("file", lambda: reader, size, spans)], block=block)["file"]
    assert found.error is not None
    assert re.fullmatch(rf"was truncated while being read: \d+ of {size} bytes", found.error)
    assert (found.digest, found.spans["last"].complete, reader.closed) == ("", False, 1)
    assert found.bytes_read <= keep


def test_a_file_cut_in_the_middle_keeps_what_was_read_before() -> None:
    reader = Changing(bytes([0, 0, 192, 127]) * 64, 128, lambda data: data[:130])
    spans = [Span("read", 0, 64, "F32", 0), Span("lost", 64, 100, "F32", 0)]
    found = scan_files([ScanJob("file", lambda: reader, 256, spans)], block=64)["file"]
    assert found.error == "was truncated while being read: 130 of 256 bytes"
    assert (found.spans["read"].complete, found.spans["read"].nonfinite) == (True, True)
    assert found.spans["read"].crc == zlib.crc32(reader.data[:64])
    assert not found.spans["lost"].complete


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128])
def test_a_file_that_grew_gives_an_error(size: int) -> None:
    job = ScanJob("file", lambda: BytesReader(b"x" * (size + 1)), size)
    found = scan_files([job], block=64)["file"]
    assert found.error == f"grew while being read: more than {size} bytes"


def test_a_file_that_cannot_be_opened_or_read_gives_an_error_and_the_others_are_scanned() -> None:
    failing = Changing(b"x" * 300, 128, refuse)

    def missing() -> BytesReader:
        raise FileNotFoundError(2, "No such file or directory")

    jobs = [
        ScanJob("missing", missing, 10),
        ScanJob("failing", lambda: failing, 300),
        ScanJob("good", lambda: BytesReader(b"good"), 4),
    ]
    found = scan_files(jobs, block=64)
    assert found["missing"].error == "could not be read: No such file or directory"
    assert found["failing"].error == "could not be read: Input/output error"
    assert (found["good"].error, found["good"].digest) == (None, blake3(b"good").hexdigest())
    assert failing.closed == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fault_of_the_program_itself_ends_all_threads_and_is_raised(threads: int) -> None:
    readers = [Changing(b"x" * (9 << 20), 1 << 20, crash) for _ in range(3)]
    jobs = [ScanJob(i, partial(same, reader), 9 << 20) for i, reader in enumerate(readers)]
    with pytest.raises(ZeroDivisionError):
        scan_files(jobs, threads=threads)


def test_spans_that_overlap_or_lie_outside_the_file_come_back_incomplete() -> None:
    data = bytes(range(1, 101))
    spans = [Span("b", 50, 20, "F32", 0), Span("a", 10, 41, "F32", 0), Span("past", 90, 11, "F64", 0)]
    spans += [Span("far", 1 << 70, 5, "F32", 0), Span("before", -5, 3, "F32", 0), Span("none", 70, 0, "F32", 0)]
    found = scan(data, spans).spans
    assert {name for name, span in found.items() if span.complete} == {"a", "none"}
    assert found["a"].crc == zlib.crc32(data[10:51])
    assert found["none"].crc == 0


@given(layouts(), BLOCKS)
def test_without_a_digest_everything_else_is_the_same(layout: tuple[bytes, list[Span]], block: int) -> None:
    data, spans = layout
    job = ScanJob("file", lambda: BytesReader(data), len(data), spans, digest=False)
    assert scan_files([job], block=block)["file"] == scan(data, spans, block)._replace(digest="")


def test_progress_adds_up_to_all_bytes() -> None:
    counts: list[int] = []
    jobs = [ScanJob(i, partial(BytesReader, bytes(size)), size) for i, size in enumerate([10 << 20, 5, 0])]
    scan_files(jobs, threads=3, progress=counts.append)
    assert sum(counts) == (10 << 20) + 5


def test_readers_are_closed_once() -> None:
    readers = [Changing(b"x" * size, 1 << 30, bytes) for size in (0, 5, 9 << 20)]
    scan_files([ScanJob(i, partial(same, reader), reader.size) for i, reader in enumerate(readers)], threads=3)
    assert [reader.closed for reader in readers] == [1, 1, 1]


@pytest.mark.parametrize("block", [0, -8, 12])
def test_a_block_size_that_values_cannot_be_aligned_to_is_refused(block: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        scan_files([], block=block)


def flipped_bits(data: bytes) -> Iterator[bytes]:
    for i in range(0, len(data), 7):
        yield data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :]


def test_any_flipped_bit_changes_digest_and_crc() -> None:
    data = np.random.default_rng(5).bytes(500)
    whole = [Span("all", 0, 500, None, 0)]
    before = scan(data, whole, 64)
    for changed in flipped_bits(data):
        after = scan(changed, whole, 64)
        assert after.digest != before.digest
        assert after.spans["all"].crc != before.spans["all"].crc
