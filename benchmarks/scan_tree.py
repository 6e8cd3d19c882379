"""The scan alone, without rules: every byte of every file below a directory, with the spans of the formats' readers.

    python benchmarks/scan_tree.py TREE [--threads 2] [--block 1048576] [--repeat 1] [--no-digest] [--bare]

Prints the seconds of each repetition; with --repeat above 1, start-up and imports are in the first one only. With
--bare the same bytes are read by the bare calls that a scan is made of, in one thread and without any bookkeeping:
``preadv``, BLAKE3, the CRC of archives, and two maxima of all that holds values.
"""

import argparse
import os
import time
from functools import partial

from audit.formats.damage import Damage
from audit.formats.safetensors import read_safetensors
from audit.formats.torch_archive import read_torch
from audit.scan import BLOCK, ScanJob, Span, scan_files
from audit.storage import LocalStorage


def spans_of(storage: LocalStorage, path: str) -> list[Span]:
    """Return tensors of a safetensors file, records of a torch archive, nothing of other files."""
    if path.endswith(".safetensors"):
        with storage.open(path) as reader:
            found = read_safetensors(reader)
        if isinstance(found, Damage):
            return []
        return [Span(t.name, t.offset, t.nbytes, t.dtype, None, 256) for t in found.tensors.values()]
    if path.endswith((".pt", ".pth", ".bin")):
        with storage.open(path) as reader:
            archive = read_torch(reader)
        if isinstance(archive, Damage):
            return []
        return [
            Span(name, record.offset, record.size, archive.dtypes.get(name.removeprefix("data/")), record.crc)
            for name, record in archive.records.items()
        ]
    return []


def bare(paths: list[str], block: int) -> None:
    """Read files by blocks; hash them, compute the CRC of archives and the two maxima of tensors."""
    import numpy as np
    from blake3 import blake3
    from isal.isal_zlib import crc32

    buffer = np.empty(block, np.uint8)
    view = buffer.data
    values = {".safetensors": (buffer.view(np.int16), buffer.view(np.uint16))}
    values[".pt"] = values[".pth"] = values[".bin"] = (buffer.view(np.int32), buffer.view(np.uint32))
    for path in paths:
        ending = os.path.splitext(path)[1]
        maxima = values.get(ending, ())
        descriptor, offset, check, digest = os.open(path, os.O_RDONLY), 0, 0, blake3()
        while got := os.preadv(descriptor, [view], offset):
            digest.update(view[:got])
            if ending in (".pt", ".pth", ".bin"):
                check = crc32(view[:got], check)
            for form in maxima:
                if got >= 4:
                    np.maximum.reduce(form[: got // form.itemsize])
            offset += got
        os.close(descriptor)
        digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="time the scan alone")
    parser.add_argument("tree")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--block", type=int, default=BLOCK)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--no-digest", action="store_true", help="CRC and values only")
    parser.add_argument("--bare", action="store_true", help="the bare calls alone")
    args = parser.parse_args()
    if args.bare:
        bare([os.path.join(where, name) for where, _, names in os.walk(args.tree) for name in names], args.block)
        return
    for _ in range(args.repeat):
        begin = time.perf_counter()
        storage = LocalStorage(args.tree)
        paths = [
            os.path.relpath(os.path.join(where, name), args.tree)
            for where, _, names in os.walk(args.tree)
            for name in names
        ]
        jobs = [
            ScanJob(path, partial(storage.open, path), os.path.getsize(f"{args.tree}/{path}"), spans_of(storage, path))
            for path in sorted(paths)
        ]
        parsed = time.perf_counter()
        jobs = [job._replace(digest=not args.no_digest) for job in jobs]
        found = scan_files(jobs, threads=args.threads, block=args.block)
        end = time.perf_counter()
        wrong = [path for path, scan in found.items() if scan.error]
        size = sum(scan.bytes_read for scan in found.values())
        print(
            f"parse {parsed - begin:.3f} s, scan {end - parsed:.3f} s, {size / 1e9 / (end - parsed):.2f} GB/s, {wrong}"
        )


if __name__ == "__main__":
    main()
