"""Write the files of the merged model, each tensor in blocks, and remember what was written."""

import os
from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

from audit.errors import AuditError
from audit.ledger.events import SealedFile
from audit.merging.base import Base
from audit.merging.blocks import Readers, blocks
from audit.merging.digests import Advance, Digests
from audit.merging.plan import MERGED, File, Plan


class Written(NamedTuple):
    """The ``files`` by name and the digest of each of the ``tensors``.

    ``ratios``: of each merged one, the norm of its update over that of its weight.
    """

    files: Mapping[str, SealedFile]
    tensors: Mapping[str, str]
    ratios: Mapping[str, float]


def write_files(
    plan: Plan, base: Base, readers: Readers, known: Mapping[str, Digests], home: str, advance: Advance
) -> Written:
    """Write all weights and their index into the directory ``home``; all is on the disk when this returns.

    ``known`` are the digests of the base by shard: what is merged has to be what was digested. Raises RefusedError,
    AuditError, OSError; see :func:`audit.merging.blocks.blocks`.
    """
    files: dict[str, SealedFile] = {}
    tensors: dict[str, str] = {}
    ratios: dict[str, float] = {}
    for file in plan.files:
        files[file.name] = _write(file, base, readers, known, home, tensors, ratios, advance)
    return Written(files, tensors, ratios)


def _write(
    file: File,
    base: Base,
    readers: Readers,
    known: Mapping[str, Digests],
    home: str,
    tensors: dict[str, str],
    ratios: dict[str, float],
    advance: Advance,
) -> SealedFile:
    from blake3 import blake3

    whole = blake3(file.head)
    with open(os.path.join(home, file.name), "xb") as target:
        target.write(file.head)
        advance(len(file.head))
        for output in file.outputs:
            made, read = blake3(), blake3()
            update = weight = 0.0
            for block in blocks(output, readers):
                target.write(block.data)
                made.update(block.data)
                whole.update(block.data)
                read.update(block.read)
                update += block.update
                weight += block.weight
                advance(len(block.data))
            if read.hexdigest() != known[output.shard.name].tensors[output.source.name]:
                place = os.path.join(base.path, output.shard.name)
                raise AuditError(f"{place}: {output.source.name} changed while it was merged; try again")
            tensors[output.name] = made.hexdigest()
            if output.kind == MERGED:
                ratios[output.name] = sqrt(update / weight) if weight else sqrt(update)
        target.flush()
        os.fsync(target.fileno())
        # The proof reads it again: from the disk, not from memory.
        os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return SealedFile(file.size, whole.hexdigest())
