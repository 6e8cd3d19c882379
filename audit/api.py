"""What a program asks of the audit: ``verify(run) -> Report``."""

import time
from collections.abc import Callable, Sequence

from audit.config import Options
from audit.engine import judge
from audit.errors import AuditError
from audit.manager import Registry, load
from audit.report import CheckpointSummary, Report
from audit.resume import resumable, resume_from
from audit.rules import Rule
from audit.run import Run, open_run
from audit.storage import DIRECTORY, LocalStorage


def verify(
    path: str,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Judge one run: the directory that holds ``checkpoint-N``, or one such checkpoint.

    ``progress`` is called with (bytes read since the last call, bytes in all) during a full-depth scan, from
    several threads. Raises AuditError where the audit could not be done: no such run, no checkpoint in it (unless
    ``options.allow_empty``), a plugin that does not load. Nothing of the run is executed or changed.
    """
    started = time.perf_counter()
    chosen = options or Options()
    plugins = registry or load()
    run = open_run(
        path,
        [plugins.backend(chosen.backend)] if chosen.backend else plugins.backends,
        depth=chosen.depth,
        jobs=chosen.jobs,
        settle_seconds=chosen.settle_seconds,
        progress=progress,
    )
    if not run.checkpoints and not chosen.allow_empty:
        raise AuditError(
            f"{path}: no checkpoint-N directory in it; if nothing was trained here yet, say so with --allow-empty"
        )
    if run.checkpoints and not run.judged:
        raise AuditError(f"{path}: is a link, or its number has more than 18 digits; give the checkpoint itself")
    report = examine(run, chosen.chosen(plugins.rules), chosen, started)
    plugins.verified(report)
    return report


def examine(run: Run, rules: Sequence[Rule], options: Options, started: float) -> Report:
    """Apply rules to an opened run and put the report together."""
    findings, outcomes = judge(run, rules, options.rules, options.severity)
    names = tuple(
        CheckpointSummary(
            item.name,
            item.step,
            resumable(item, findings),
            False,
            sum(entry.kind != DIRECTORY for entry in item.entries.values()),
            item.bytes,
        )
        for item in run.judged
    )
    scanned = sum(scan.bytes_read for scan in (run.optional("scans") or {}).values()) if options.depth == "full" else 0
    read = run.storage.bytes_read if isinstance(run.storage, LocalStorage) else 0
    return Report(
        path=run.path,
        backend=run.backend.name if run.checkpoints else None,
        latest_step=max((item.step for item in run.judged), default=None),
        save_total_limit=run.optional("save_total_limit"),
        resume_from=resume_from(run, findings),
        checkpoints=names,
        findings=findings,
        outcomes=outcomes,
        depth=options.depth,
        bytes_read=scanned + read,
        seconds=time.perf_counter() - started,
    )
