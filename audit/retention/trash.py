"""``<run>/.audit/trash``: removed checkpoints until they are deleted, where no trainer looks for them."""

import os
import shutil
from errno import ENOSPC

from audit.audit_dir import TRASH, free_name, refuse_links
from audit.backend.names import is_trace
from audit.errors import AuditError


def place_for(root: str, name: str) -> str:
    """Return where a checkpoint goes: a free name in the trash, which is made.

    If the disk is too full for one more directory, the checkpoint itself becomes the trash.
    Raises AuditError: a link in the trash's place, a read-only run.
    """
    trash = os.path.join(root, TRASH)
    refuse_links(root, TRASH, "nothing is moved there")
    try:
        os.makedirs(trash, exist_ok=True)
    except OSError as error:
        if error.errno == ENOSPC and not os.path.lexists(trash):
            return trash
        raise AuditError(f"{trash}: cannot be made: {error.strerror or error}") from error
    return os.path.join(trash, free_name(trash, name))


def empty(root: str) -> int:
    """Delete what is in the trash; return how many checkpoints that were. Raises AuditError."""
    trash = os.path.join(root, TRASH)
    if not os.path.lexists(trash):
        return 0
    refuse_links(root, TRASH, "it is not emptied")
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
    return sum(map(is_trace, names)) or int(bool(names))
