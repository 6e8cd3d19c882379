"""Only checkpoints that are directories are moved, copied and removed."""

from audit.backend.layout import units
from audit.errors import AuditError
from audit.facts.run import Run
from audit.storage import DIRECTORY


def refuse_files(run: Run, command: str) -> None:
    """Raise AuditError if the checkpoints of a run may be files."""
    if units(run.backend) != (DIRECTORY,):
        raise AuditError(
            f"{run.path}: checkpoints of {run.backend.name} are files, and audit {command} takes only directories; "
            "nothing was changed"
        )
