"""What the ledger of a run remembers of a merge. A run that cannot be written to is merged all the same."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.facts.checkpoint import Checkpoint
from audit.ledger.events import BaseSealed, Merged, SealedFile
from audit.ledger.records import read_records


def note_merge(
    run: str, checkpoint: Checkpoint, out: str, document: Mapping[str, Any], base: Mapping[str, SealedFile]
) -> Iterator[str]:
    """Record a merge, and the digests of its base if there are none yet; yield what could not be recorded."""
    import os

    files = {name: SealedFile(found["size"], found["blake3"]) for name, found in document["files"].items()}
    event = Merged(checkpoint.name, checkpoint.step, os.path.abspath(out), files)
    yield from _append(run, base, event, replace=False)


def seal_base(run: str, base: Mapping[str, SealedFile]) -> Iterator[str]:
    """Record the digests of the base of a run, in place of older ones; yield what could not be recorded."""
    yield from _append(run, base, None, replace=True)


def _append(run: str, base: Mapping[str, SealedFile], event: Merged | None, replace: bool) -> Iterator[str]:
    from audit.ledger.store import LedgerError

    records, ledger = read_records(run, write=True)
    if ledger is None:
        yield f"not recorded: {records.unusable or records.edited or records.unwritable}"
        return
    try:
        if replace or records.base is None:
            ledger.append(BaseSealed(base))
        if event is not None:
            ledger.append(event)
    except LedgerError as error:
        yield f"not recorded: {error}"
    finally:
        ledger.close()
