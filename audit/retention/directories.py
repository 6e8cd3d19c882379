"""Which directories are moved, copied and removed: only checkpoints are; and where copies are put."""

import os

from audit.audit_dir import AUDIT_DIR
from audit.backend.names import checkpoint_around, is_left_by_save
from audit.backend.protocol import units
from audit.errors import AuditError, RefusedError
from audit.facts.run import Run
from audit.storage import DIRECTORY, scheme_of, without_secrets


def refuse_files(run: Run, command: str) -> None:
    """Raise AuditError if the checkpoints of a run may be files."""
    if units(run.backend) != (DIRECTORY,):
        raise AuditError(
            f"{run.path}: checkpoints of {run.backend.name} are files, and audit {command} takes only directories; "
            "nothing was changed"
        )


def refuse_place(run: str, dest: str) -> None:
    """Raise RefusedError for a place where a copy is not safe: in a checkpoint, or where rotation deletes."""
    if scheme_of(dest) is not None:
        raise RefusedError(f"{without_secrets(dest)}: is a URL, and a directory is needed; copy it there afterwards")
    real, home = os.path.realpath(dest), os.path.realpath(run)
    if (inside := checkpoint_around(dest)) is not None:
        raise RefusedError(f"{dest}: is inside {inside}, and nothing is written inside a checkpoint")
    if real == home:
        raise RefusedError(f"{dest}: is the run itself; give another directory")
    if os.path.commonpath([real, home]) != home:
        return
    first = os.path.relpath(real, home).split(os.sep)[0]
    if is_left_by_save(first):
        raise RefusedError(f"{dest}: a trainer's rotation deletes {first}, as its name begins with checkpoint-")
    if first == AUDIT_DIR:
        raise RefusedError(f"{dest}: is where the audit keeps its own records; give another directory")
