"""Scans that the ledger remembers, so that an unchanged file is not read again."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sys import float_info
from typing import TYPE_CHECKING

from audit.ledger.events import SealedFile

if TYPE_CHECKING:
    from audit.scan import FileScan, Span, SpanScan
    from audit.storage import Entry

_HEX = r"[0-9a-f]{64}"


def stamp_of(entry: "Entry", spans: "Iterable[Span]") -> str:
    """Return what must be unchanged for a remembered scan to be valid: size, times, inode, and the spans.

    The ctime, too: a program that changes a byte and puts the mtime back cannot put that back. A hard link changes it
    as well; who makes one says so with :func:`linked`. Where the storage has versions, that of the file and its size.
    """
    from blake3 import blake3

    asked = blake3(json.dumps(list(spans)).encode("utf-8", "surrogatepass")).hexdigest(16)
    return stamp_of_file(entry) + asked


def read_since(entry: "Entry", sealed: SealedFile, remembered: tuple[str, str] | None) -> bool:
    """Whether the file was read after it was last touched, and is still what was sealed."""
    if remembered is None or not remembered[0].startswith(stamp_of_file(entry)):
        return False
    try:
        digest, size, _ = json.loads(remembered[1])
    except (ValueError, TypeError, RecursionError):
        return False
    return bool(digest == sealed.digest and size == sealed.size)


def stamp_of_file(entry: "Entry") -> str:
    """Return what must be unchanged for a file to count as the one that was read."""
    if entry.version is not None:  # the time of an upload says nothing that the version does not
        from blake3 import blake3

        return f"3:{entry.size}:{blake3(entry.version.encode('utf-8', 'surrogatepass')).hexdigest(16)}:"
    return f"2:{entry.size}:{entry.mtime_ns}:{entry.ctime_ns}:{entry.inode}:"


def is_stamp_of(stamp: str, entry: "Entry") -> bool:
    """Whether a remembered scan with this stamp is of the file as it is, whatever parts of it were looked at."""
    return stamp.startswith(stamp_of_file(entry))


def linked(stamp: str, before: "Entry", after: "Entry") -> str:
    """Return the stamp of a file whose ctime was changed, between these two looks, by making or deleting a hard link.

    Any other change, or a file that was not as it was read even before, leaves the stamp as it is: it holds no longer.
    """
    same = before._replace(ctime_ns=0, allocated=None) == after._replace(ctime_ns=0, allocated=None)
    known = stamp_of_file(before)
    return stamp_of_file(after) + stamp.removeprefix(known) if same and stamp.startswith(known) else stamp


def scan_text(scan: "FileScan") -> str:
    """Return a scan as JSON text, to be remembered."""
    return json.dumps([scan.digest, scan.size, {name: list(span) for name, span in scan.spans.items()}])


def scan_from(text: str, asked: "Sequence[Span] | None") -> "FileScan | None":
    """Return the remembered scan, None for text of another shape or a scan of other spans; any spans if None."""
    from audit.scan import FileScan, SpanScan

    try:
        digest, size, spans = json.loads(text)
        found = {name: SpanScan(*values) for name, values in spans.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(digest, str) or not re.fullmatch(_HEX, digest) or not isinstance(size, int):
        return None
    if not all(_well_typed(span) for span in found.values()):
        return None
    if asked is None:
        return FileScan(digest, size, 0, found, None)
    if found.keys() != {span.name for span in asked}:
        return None
    if any((found[span.name].crc is None) != (span.crc is None) for span in asked if found[span.name].complete):
        return None
    return FileScan(digest, size, 0, found, None)


class RememberedScans(Mapping[str, "FileScan"]):
    """The remembered scans of one checkpoint by file, parsed when they are asked for; ``texts`` as they are kept."""

    def __init__(
        self,
        texts: Mapping[str, str],
        others: "Mapping[str, FileScan] | None" = None,
        read: Mapping[str, int] | None = None,
    ) -> None:
        self._texts = texts
        self._others = others or {}
        self._read = read or {}
        self._parsed: dict[str, FileScan] = {}

    @classmethod
    def of(cls, scans: "Mapping[str, FileScan]") -> "RememberedScans":
        """Return scans as text, with the bytes that were read for each; as they are if text cannot hold them."""
        texts = {path: scan_text(scan) for path, scan in scans.items()}
        others = {path: scan for path, scan in scans.items() if not _is_held(texts[path], scan)}
        return cls(texts, others, {path: scan.bytes_read for path, scan in scans.items()})

    @property
    def bytes_read(self) -> int:
        """Bytes that were read for all of them in this audit."""
        return sum(self._read.values())

    def text_of(self, path: str) -> str:
        """The text of the scan of a file."""
        return self._texts[path]

    def __getitem__(self, path: str) -> "FileScan":
        if path in self._others:
            return self._others[path]
        if path not in self._parsed:
            from audit.scan import FileScan

            found = scan_from(self._texts[path], None)
            found = found or FileScan("", 0, 0, {}, "has a remembered scan that cannot be read")
            self._parsed[path] = found._replace(bytes_read=self._read.get(path, 0))
        return self._parsed[path]

    def forget(self) -> None:
        """Drop what was parsed."""
        self._parsed.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _is_held(text: str, scan: "FileScan") -> bool:
    return scan_from(text, None) == scan._replace(bytes_read=0)


def _well_typed(span: "SpanScan") -> bool:
    flags = (span.nonfinite, span.negative, span.all_zero, span.complete)
    whole = (span.zero_run, span.zero_run_at)
    return (
        all(isinstance(flag, bool) for flag in flags)
        and isinstance(span.peak, int | float)
        and 0 <= span.peak <= float_info.max
        and all(isinstance(number, int) for number in whole)
        and (span.crc is None or isinstance(span.crc, int))
    )
