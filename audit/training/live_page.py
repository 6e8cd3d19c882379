"""The page of the run, written anew after each batch: ``report.file`` of the configuration."""

import os

from audit.audit_dir import replaced
from audit.backend.names import checkpoint_around
from audit.backend.training import Note
from audit.errors import AuditError
from audit.manager import Registry
from audit.page import is_page
from audit.training.config import TrainConfig
from audit.training.events import Emit


def write_page(config: TrainConfig, registry: Registry, emit: Emit) -> None:
    """Write the page, judged by structure; the batch was proven just before. A failure is noted, training continues."""
    path = config.report
    if path is None:
        return
    try:
        _write(path, config, registry)
    except (AuditError, OSError) as error:
        emit(Note(f"report.file: {path} is not written: {error}"))


def _write(path: str, config: TrainConfig, registry: Registry) -> None:
    from audit.views.curves import curves_of
    from audit.views.inspection import inspect

    if checkpoint_around(os.path.dirname(os.path.realpath(path))) is not None:
        raise AuditError("it is inside a checkpoint, and nothing is written there")
    if os.path.lexists(path) and not is_page(path):
        raise AuditError("it is there, and is not a page of audit report, so it stays")
    found = inspect(config.run, config.verify, registry=registry)
    shown = curves_of(found.run, found.report)._replace(live=True)
    page = registry.page("html")([shown])
    with replaced(path) as scratch, open(scratch, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)
