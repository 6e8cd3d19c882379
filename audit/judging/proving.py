"""Which checkpoints of a run are proven: what retention and snapshots rest on."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from audit.api import examine, open_judged
from audit.errors import AuditError, RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run, locate
from audit.judging.at_rest import judged_at_rest
from audit.judging.recording import record_observation
from audit.judging.resume import newest_lineage, provable
from audit.ledger.records import Records, read_records
from audit.ledger.seals import Seal, SealedFile
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from audit.retention.pins import pins_home
from audit.storage import DIRECTORY


class Proof(NamedTuple):
    """A run, judged at full depth just now; ``proven`` are the checkpoints that passed, by step."""

    run: Run
    report: Report
    proven: tuple[Checkpoint, ...]


def prove(
    path: str,
    options: Options,
    registry: Registry,
    *,
    record: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Proof:
    """Judge every checkpoint of a run by all rules and every byte, and seal those that pass unless ``record`` is False.

    Files of sealed checkpoints that did not change are not read again, unless ``options.cache`` is False. Raises
    AuditError: no such run, one checkpoint in its place, a rule that crashed.
    """
    started = time.perf_counter()
    root = run_of(path)
    chosen = proving(options)
    rules = chosen.chosen(registry.rules)
    records, ledger = read_records(root, record and chosen.ledger)
    try:
        run, report = judged_at_rest(
            lambda: open_judged(path, chosen, registry, records, progress),
            lambda run: examine(run, rules, chosen, started),
        )
        if report.crashed:
            raise AuditError(f"rule {report.crashed[0].rule} crashed, so nothing is proven; please report this")
        report = record_observation(run, report, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    return Proof(run, report, tuple(item for item in run.checkpoints if provable(item, report)))


def run_of(path: str) -> str:
    """Return the run's directory. Raises AuditError: none there, one checkpoint, or nothing that was ever trained.

    A directory that was named by mistake stays as it is, and is not reported as a run in which there is nothing to do.
    """
    root, only = locate(path)
    if only:
        raise AuditError(f"{path}: is one checkpoint; give the run that holds it")
    try:
        names = os.listdir(root)
    except OSError as error:
        raise AuditError(f"{path}: cannot be listed: {error.strerror or error}") from error
    if ".audit" not in names and not any(name.startswith("checkpoint-") for name in names):
        raise AuditError(f"{path}: no checkpoint-N directory in it")
    return root


def proving(options: Options) -> Options:
    """Return options that prove something: every byte, and no selection of a few rules."""
    return options._replace(depth="full", select=(), allow_empty=True)


def newest_proven(proof: Proof, options: Options, registry: Registry) -> Checkpoint:
    """Return the newest proven checkpoint of a run, a pinned one where that is further on.

    Raises RefusedError where there is none, or where several histories are mixed and nothing says which is the newest.
    """
    run = proof.run
    lineage = newest_lineage(run, proof.report.findings)
    if lineage is None:
        raise RefusedError(f"{run.path}: {len(run.lineages)} histories are mixed here; see audit verify {run.path}")
    own = [item for item in proof.proven if item in lineage or not run.lineages]
    pinned = _pinned(run, options, registry, own[-1].step if own else -1)
    if pinned is not None:
        return pinned
    if not own:
        raise RefusedError(f"{run.path}: no checkpoint is proven; see audit verify {run.path}")
    return own[-1]


def _pinned(run: Run, options: Options, registry: Registry, beyond: int) -> Checkpoint | None:
    """A pin is verified like any other checkpoint: the directory of the pins is a run of its own."""
    home = pins_home(locate(run.path)[0])
    if home is None:
        return None
    chosen = proving(options)
    known = Records(seals=run.records.seals, scans=run.records.scans)
    if open_judged(home, chosen, registry, known, None).highest <= beyond:
        return None
    rules = chosen.chosen(registry.rules)
    pins, report = judged_at_rest(
        lambda: open_judged(home, chosen, registry, known, None), lambda pins: examine(pins, rules, chosen, 0.0)
    )
    proven = [item for item in pins.checkpoints if provable(item, report) and item.step > beyond]
    return proven[-1] if proven else None


def seal_now(checkpoint: Checkpoint) -> Seal:
    """Return the digests that the full-depth judgement took. Raises AuditError where a file has none."""
    scan = checkpoint.scan
    for path, entry in checkpoint.entries.items():
        if entry.kind != DIRECTORY and (path not in scan or scan[path].error):
            raise AuditError(f"{place_of(checkpoint)}/{path}: could not be read, so it has no digest")
    newest = max((checkpoint.entries[path].mtime_ns for path in scan), default=0)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"
    files = {path: SealedFile(found.size, found.digest) for path, found in scan.items()}
    return Seal(checkpoint.name, checkpoint.step, moment, newest, files)


def place_of(checkpoint: Checkpoint) -> str:
    """Return the path of a checkpoint's directory."""
    return os.path.join(locate(checkpoint.run.path)[0], checkpoint.name)
