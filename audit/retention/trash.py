"""``<run>/.audit/trash``: what was removed lies here until it is deleted, out of the sight of every trainer."""

import os
import shutil
from errno import ENOSPC

from audit.errors import AuditError

TRASH = os.path.join(".audit", "trash")


def place_for(root: str, name: str) -> str:
    """Return where a checkpoint goes: a free name in the trash, which is made.

    Where the disk is too full for one more directory, the checkpoint itself becomes the trash.
    Raises AuditError: a link in the trash's place, a read-only run.
    """
    trash = os.path.join(root, TRASH)
    _no_links(trash)
    try:
        os.makedirs(trash, exist_ok=True)
    except OSError as error:
        if error.errno == ENOSPC and not os.path.lexists(trash):
            return trash
        raise AuditError(f"{trash}: cannot be made: {error.strerror or error}") from error
    place, number = os.path.join(trash, name), 0
    while os.path.lexists(place):
        number += 1
        place = os.path.join(trash, f"{name}.{number}")
    return place


def _no_links(trash: str) -> None:
    for place in (os.path.dirname(trash), trash):
        if os.path.islink(place):
            raise AuditError(f"{place}: is a link, so nothing is moved there")


def empty(root: str) -> int:
    """Delete what lies in the trash; return how many checkpoints that were. Raises AuditError."""
    trash = os.path.join(root, TRASH)
    if not os.path.lexists(trash):
        return 0
    _no_links(trash)
    try:
        names = sorted(os.listdir(trash))
        for name in names:
            path = os.path.join(trash, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        os.rmdir(trash)
    except (OSError, shutil.Error) as error:
        raise AuditError(f"{trash}: cannot be emptied: {error}; the next call tries again") from error
    return sum(name.startswith("checkpoint-") for name in names) or int(bool(names))
