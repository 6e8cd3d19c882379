"""What every reader checks first: an empty file, a placeholder, a file that is too large to read."""

from audit.formats.damage import Damage, Kind
from audit.storage import RangeReader

LFS = b"version https://git-lfs"


def placeholder(head: bytes, size: int) -> Damage | None:
    """Return the Damage of an empty file or of a git-lfs pointer, judged by a file's first bytes."""
    if size == 0:
        return Damage(Kind.EMPTY, "is empty")
    if head.startswith(LFS):
        return Damage(Kind.PLACEHOLDER, "is a git-lfs pointer; fetch the real file with `git lfs pull`")
    return None


def read_whole(reader: RangeReader, limit: int) -> bytes | Damage:
    """Return the bytes of a file of at most ``limit`` bytes."""
    if reader.size > limit:
        head = placeholder(reader.read(0, len(LFS)), reader.size)
        return head or Damage(Kind.OVERSIZED, f"has {reader.size} bytes, more than the limit of {limit}")
    data = reader.read(0, reader.size)
    if len(data) < reader.size:
        return Damage(Kind.MALFORMED, f"became shorter while it was read: {len(data)} of {reader.size} bytes")
    return placeholder(data, len(data)) or data
