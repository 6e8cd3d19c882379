"""One pass over every byte: BLAKE3 of each file, CRC32 of records, non-finite values, runs of zero bytes.

Each file is read in blocks that stay in the processor's second-level cache for all checks, so one more check costs
little. Files are read, never mapped: truncating a mapped file would kill the process. The kernels that need numpy,
blake3 and isal are imported by :func:`scan_files`, so these values cost nothing to import.
"""

from collections.abc import Callable, Hashable, Sequence

from audit.scan.values import FileScan, ScanJob, Span, SpanScan

BLOCK = 1 << 20
"""Bytes read at a time by each thread: half of a second-level cache of 2 MiB. A multiple of 8."""


def scan_files(
    jobs: Sequence[ScanJob], threads: int = 2, progress: Callable[[int], None] | None = None, block: int = BLOCK
) -> dict[Hashable, FileScan]:
    """Scan every job, the largest first, and return the results by key.

    A file that cannot be opened or read, or changes its size meanwhile, has an ``error``; it raises no exception.
    ``progress`` gets the number of bytes of each finished block, from any thread, one call at a time. ``block`` is in
    bytes, a multiple of 8. Raises ImportError if numpy, blake3 or isal is missing.
    """
    from audit.scan.threads import Pool

    return Pool(jobs, block, progress).run(threads)


__all__ = ["BLOCK", "FileScan", "ScanJob", "Span", "SpanScan", "scan_files"]
