"""What a program asks of the audit: ``verify(run) -> Report`` and ``guard(run) -> Path | None``."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from audit.storage import scheme_of, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from audit.judging.auditor import Progress

PARAMETERS = {
    "--allow-missing": "allow_missing=True",
    "--allow-fresh": "allow_fresh=True",
    "--allow-empty": "Options(allow_empty=True)",
    "--strict": "strict=True",
    "--backend": "Options(backend=...)",
    "--ledger": "Options(ledger_dir=...)",
    "--lineage": "the command audit guard --lineage",
}
"""How a program asks for what an option of the command line asks for."""


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

    with _named_for_programs():
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
            f"{without_secrets(path)}: guard() returns a path of this machine; run the command audit guard --fetch DIR"
        )
    limits = Limits(strict=strict, allow_fresh=allow_fresh, exact=exact, allow_missing=allow_missing)
    with _named_for_programs():
        decision, report = consult(path, limits)
    if decision.refusal is not None:
        way = "; allow_fresh=True starts over at step 0" if decision.dead_end else ""
        reason = decision.refusal if "--allow-fresh" in decision.refusal else f"{decision.refusal}{way}"
        raise ResumeRefused(f"{path}: {for_programs(reason)}", report, decision)
    return Path(path, decision.checkpoint) if decision.checkpoint else None


@contextmanager
def _named_for_programs() -> Iterator[None]:
    """Have errors name what a program can pass."""
    try:
        yield
    except AuditError as error:
        error.args = tuple(for_programs(item) if isinstance(item, str) else item for item in error.args)
        raise


def for_programs(text: str) -> str:
    """Return a message with the parameters of Python in place of the options of the command line."""
    option = rf"(?<![\w-])({'|'.join(PARAMETERS)})(?![\w-])"
    return re.sub(option, lambda found: PARAMETERS[found[0]], text)
