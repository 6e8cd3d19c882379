"""What the ledger of a run remembers of a merge. A run that cannot be written to is merged all the same."""

import os
from collections.abc import Mapping
from typing import Any

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.ledger.events import BaseSealed, Merged, SealedFile
from audit.ledger.records import read_records
from audit.merging.base import read_base
from audit.merging.digests import digest_of


def note_merge(
    run: str, checkpoint: Checkpoint, out: str, document: Mapping[str, Any], base: Mapping[str, SealedFile]
) -> str | None:
    """Record a merge, and the digests of its base if there are none yet; return why not, None if it was."""
    files = {name: SealedFile(found["size"], found["blake3"]) for name, found in document["merge"]["files"].items()}
    event = Merged(checkpoint.name, checkpoint.step, os.path.abspath(out), files)
    return _append(run, base, event, replace=False)


def seal_base(run: str, path: str) -> dict[str, SealedFile]:
    """Record the digests of the weights of a run's base model, in place of older ones, and return them.

    Raises AuditError if it cannot be read or recorded.
    """
    base = read_base(path)
    found = {}
    for shard in base.shards:
        with base.open(shard.name) as reader:
            found[shard.name] = digest_of(reader)
    problem = _append(run, found, None, replace=True)
    if problem is not None:
        raise AuditError(f"{run}: the base is {problem}")
    return found


def _append(run: str, base: Mapping[str, SealedFile], event: Merged | None, replace: bool) -> str | None:
    from audit.ledger.store import LedgerError

    records, ledger = read_records(run, write=True)
    if ledger is None:
        return f"not recorded: {records.unusable or records.edited or records.unwritable}"
    try:
        if replace or records.base is None:
            ledger.append(BaseSealed(base))
        if event is not None:
            ledger.append(event)
    except LedgerError as error:
        return f"not recorded: {error}"
    finally:
        ledger.close()
    return None
