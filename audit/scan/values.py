"""Input and output of a scan: spans of files, and what was found in them."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from audit.storage import ContextReader


class Span(NamedTuple):
    """A part of a file to scan: ``length`` bytes from ``offset``, the values of one tensor or one record.

    ``dtype`` is a safetensors code; with None, or a code that is not a floating-point type, values are not checked
    (those of a big-endian archive must not be). ``crc`` is the expected CRC32, None computes none. ``zero_run`` is the
    shortest run of zero bytes to report, at least 16; 0 reports none.
    """

    name: str
    offset: int
    length: int
    dtype: str | None = None
    crc: int | None = None
    zero_run: int = 4096


class SpanScan(NamedTuple):
    """What was found in a span; ``crc`` is the computed one, None if none was expected.

    ``nonfinite``: a NaN or an infinity; ``negative``: a value below -0.0; ``all_zero``: nothing but zeros;
    ``peak``: the largest finite magnitude. ``zero_run``: bytes of the longest run of zero bytes if that is at least the
    span's minimum, else 0, and ``zero_run_at`` its offset in the file (the first of equals). ``complete``: the
    span was read to its end; if not, the other values are of the part that was read.
    """

    nonfinite: bool
    negative: bool
    all_zero: bool
    peak: float
    zero_run: int
    zero_run_at: int
    crc: int | None
    complete: bool


class FileScan(NamedTuple):
    """What was found in a file. ``error`` completes the sentence "FILE ..."; the digest is then empty.

    ``digest`` is the BLAKE3 of all bytes in hexadecimal, as ``b3sum`` prints it, also empty if none was requested.
    """

    digest: str
    size: int
    bytes_read: int
    spans: dict[str, SpanScan]
    error: str | None


class ScanJob(NamedTuple):
    """A file to scan: ``size`` in bytes as it was listed, ``spans`` with unique names.

    A span that overlaps another one that begins before it is not scanned, and is returned incomplete.
    ``open`` is called once; the reader's ``read_into`` is called from several threads at once. Without ``digest`` the
    file is not hashed, which is half of the work.
    """

    key: Hashable
    open: Callable[[], ContextReader]
    size: int
    spans: Sequence[Span] = ()
    digest: bool = True
