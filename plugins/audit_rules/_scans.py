"""What a scan found, as far as it was read."""

from collections.abc import Mapping

from audit.plugin import FileScan


def was_read(scan: Mapping[str, FileScan], path: str) -> bool:
    """Say whether a file was read to its end; one that could not be is reported by files/unreadable."""
    return path in scan and not scan[path].error
