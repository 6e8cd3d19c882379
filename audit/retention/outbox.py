"""Checkpoints that are to be pushed somewhere, kept as hard links until they are: rotation does not reach them.

Each push has a directory of its own, ``<run>/.audit/outbox/<id>/checkpoint-N``. It takes no space as long as the
checkpoint itself is there.
"""

import os
from contextlib import suppress

from audit.audit_dir import OUTBOX, aside, make, refuse_links
from audit.errors import AuditError
from audit.retention.pins import known_links, link_all


def place_in_outbox(run: str, id: str, checkpoint: str) -> str:
    """Return where the files of a push are, or would be."""
    return os.path.join(run, OUTBOX, id, checkpoint)


def put_in_outbox(run: str, id: str, checkpoint: str) -> str | None:
    """Keep the files of ``checkpoint`` for the push ``id``; return why they cannot be kept, None if they are.

    Raises AuditError if a link is in the way or the run cannot be written to.
    """
    import shutil

    home = os.path.dirname(place_in_outbox(run, id, checkpoint))
    if os.path.isdir(home):
        return None
    scratch = aside(home)
    make(run, OUTBOX, "nothing is kept there")
    try:
        os.mkdir(scratch)
        with known_links(run, [checkpoint]):
            link_all(os.path.join(run, checkpoint), os.path.join(scratch, checkpoint))
        os.rename(scratch, home)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        return (
            f"{checkpoint} is not kept for the upload ({error.strerror or error}): it must stay where it is until then"
        )
    return None


def clear_outbox(run: str, wanted: set[str]) -> None:
    """Delete what is kept for pushes that are not ``wanted`` any more, by their ids. Raises AuditError."""
    import shutil

    home = os.path.join(run, OUTBOX)
    if not os.path.lexists(home):
        return
    refuse_links(run, OUTBOX, "nothing is deleted there")
    try:
        for name in os.listdir(home):
            place = os.path.join(home, name)
            if name.partition(".")[0] in wanted:
                continue
            with known_links(run, os.listdir(place)):
                shutil.rmtree(place)
    except OSError as error:
        raise AuditError(f"{home}: cannot be cleared: {error.strerror or error}") from error
    with suppress(OSError):  # not empty
        os.rmdir(home)
