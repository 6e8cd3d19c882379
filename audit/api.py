"""What a program asks of the audit: ``verify(run) -> Report`` and ``guard(run) -> Path | None``."""

import os
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from audit.storage import scheme_of, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from audit.judging.auditor import Progress


def verify(
    path: str | os.PathLike[str],
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: "Progress | None" = None,
) -> Report:
    """Judge one run: the directory or URL that holds ``checkpoint-N``, or one such checkpoint.

    Records one observation in the run's ledger, and seals what a full-depth verification proved, unless
    ``options.ledger`` is False. ``progress`` is called with (bytes read since the last call, bytes in all) during a
    full-depth scan, from several threads. Raises AuditError if the audit could not be done: no such run, no
    checkpoint in it (unless ``options.allow_empty``), a plugin that does not load. Nothing of the run is executed, and
    no checkpoint is changed.
    """
    from audit.judging.verification import verify_report

    return verify_report(os.fspath(path), options, registry=registry, progress=progress)


def guard(
    run: str | os.PathLike[str],
    *,
    strict: bool = False,
    allow_fresh: bool = False,
    exact: bool = False,
    allow_missing: bool = False,
) -> "Path | None":
    """Return the newest checkpoint that is really resumable, or None if nothing was ever trained: start fresh.

    Raises ResumeRefused, which carries the report, if training was done and nothing may be resumed from; AuditError
    if the audit could not be done, and if there is no such directory, unless ``allow_missing``. ``strict`` takes the
    newest checkpoint or none, ``allow_fresh`` returns None instead of refusing, ``exact`` takes only a checkpoint from
    which training goes on bit for bit.
    """
    from pathlib import Path

    from audit.judging.decision import Limits, ResumeRefused
    from audit.judging.guard import consult

    path = os.fspath(run)
    if scheme_of(path) is not None:
        raise AuditError(
            f"{without_secrets(path)}: guard() returns a path of this machine; use audit guard --fetch DIR"
        )
    limits = Limits(strict=strict, allow_fresh=allow_fresh, exact=exact, allow_missing=allow_missing)
    decision, report = consult(path, limits)
    if decision.refusal is not None:
        raise ResumeRefused(f"{path}: {decision.refusal}", report, decision)
    return Path(path, decision.checkpoint) if decision.checkpoint else None
