"""One pass over every byte: BLAKE3 of each file, CRC32 of records, non-finite values, runs of zero bytes.

Each file is read by blocks that stay in the processor's second-level cache while all checks look at them, so a check
more costs little more. Files are read, never mapped: a file cut under a map would end the process. The kernels that
need numpy, blake3 and isal are imported by :func:`scan_files`, so these values cost nothing to import.
"""

from collections.abc import Callable, Hashable, Sequence

from audit.scan.values import FileScan, ScanJob, Span, SpanScan

BLOCK = 1 << 20
"""Bytes read at a time by each thread: half of a second-level cache of 2 MiB. A multiple of 8."""


def scan_files(
    jobs: Sequence[ScanJob], threads: int = 2, progress: Callable[[int], None] | None = None, block: int = BLOCK
) -> dict[Hashable, FileScan]:
    """Scan every job, the largest first, and return the results by key.

    A file that cannot be opened or read, or that changes its size meanwhile, gives an ``error`` and no exception.
    ``progress`` gets the number of bytes of each block that is done, from whichever thread did it, one call at a time.
    ``block`` is in bytes, a multiple of 8. Raises ImportError where numpy, blake3 or isal is missing.
    """
    from audit.scan.threads import Pool

    return Pool(jobs, block, progress).run(threads)


__all__ = ["BLOCK", "FileScan", "ScanJob", "Span", "SpanScan", "scan_files"]
