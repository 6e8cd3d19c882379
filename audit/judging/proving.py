"""Which checkpoints of a run are proven: what retention and snapshots rest on."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from audit.audit_dir import AUDIT_DIR
from audit.backend.names import is_checkpoint, is_trace
from audit.errors import AuditError, RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.listing import locate
from audit.facts.run import Run
from audit.facts.traces import no_checkpoint
from audit.findings import Finding, Severity
from audit.judging.auditor import Auditor, refuse_unread
from audit.judging.recording import record_observation
from audit.judging.resume import against, newest_lineage, provable, why_not
from audit.ledger.events import SealedFile
from audit.ledger.records import read_records
from audit.ledger.seals import Seal
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from audit.storage import DIRECTORY, LocalStorage, Storage
from audit.text import utc_time


class Proof(NamedTuple):
    """A run, judged at full depth just now; ``proven`` are the checkpoints that passed, by step."""

    run: Run
    report: Report
    proven: tuple[Checkpoint, ...]

    def unproven(self, since: int = 0) -> Iterator[tuple[str, str]]:
        """Yield each checkpoint that is not proven, from step ``since`` on, the newest first: its name, and why not."""
        findings = self.report.findings
        found, lineage = against(findings), newest_lineage(self.run, findings) or ()
        proven = {item.name for item in self.proven}
        for item in reversed(self.run.judged):
            if item.step < since:
                return
            state, why = item.optional("completeness"), why_not(item, found, lineage, self.run)
            if state is not None and state.state.moving:
                yield item.name, state.state.value
            elif why is not None:
                yield item.name, why
            elif item.name not in proven:
                yield item.name, _doubt(item, findings)

    @property
    def nothing_proven(self) -> str:
        """Say that no checkpoint is proven, and why the newest is not."""
        return f"no checkpoint is proven{self._why_not()}"

    def too_few_proven(self, number: int) -> str:
        """Say that fewer than ``number`` are proven, and why the newest of the others is not."""
        verb = "is" if len(self.proven) == 1 else "are"
        return f"only {len(self.proven)} of the {number} to keep {verb} proven{self._why_not()}"

    def _why_not(self) -> str:
        newest = next((f"; {name}: {why}" for name, why in self.unproven()), "")
        return f"{newest}; see audit verify {self.run.path}"

    def passed_over(self, chosen: Checkpoint) -> tuple[str, ...]:
        """Say of each checkpoint newer than a chosen one why it was not taken; of the chosen one if its pin was."""
        return tuple(f"passed over {name}: {why}" for name, why in self.unproven(chosen.step))


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
    root = run_of(path, options, registry)
    auditor = Auditor(proving(options), registry)
    records, ledger = read_records(root, record and options.ledger)
    try:
        run, report = auditor.judge(path, records, progress)
        if report.crashed:
            raise AuditError(f"rule {report.crashed[0].rule} crashed, so nothing is proven; please report this")
        report = record_observation(run, report, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    return Proof(run, report, tuple(provable(run.checkpoints, report)))


def run_of(path: str, options: Options, registry: Registry) -> str:
    """Return the run's directory. Raises AuditError: none there, one checkpoint, nothing that was ever trained or read.

    A directory that was named by mistake stays as it is, and is not reported as a run in which there is nothing to do.
    """
    root, only = locate(path)
    if only:
        raise AuditError(f"{path}: is one checkpoint; give the run that holds it")
    try:
        names = os.listdir(root)
    except OSError as error:
        raise AuditError(f"{path}: cannot be listed: {error.strerror or error}") from error
    refuse_untouched(path, names, LocalStorage(root))
    if AUDIT_DIR not in names and not any(map(is_checkpoint, names)):  # other trainers use names of checkpoints, too
        refuse_unread(Auditor(options, registry).open_quick(root))
    return root


def refuse_untouched(path: str, names: Collection[str], storage: Storage) -> None:
    """Raise AuditError if what is in a run, its ``names``, shows nothing that was ever trained or audited there."""
    if AUDIT_DIR not in names and not any(map(is_trace, names)):
        raise AuditError(no_checkpoint(path, storage))


def proving(options: Options) -> Options:
    """Return options that prove something: every byte, and no selection of a few rules."""
    return options._replace(depth="full", select=(), allow_empty=True)


def newest_proven(proof: Proof, options: Options, registry: Registry) -> Checkpoint:
    """Return the newest proven checkpoint of a run, a pinned one where that is further on.

    Raises RefusedError if there is none, or if several histories are mixed and nothing says which is the newest.
    """
    run = proof.run
    lineage = newest_lineage(run, proof.report.findings)
    if lineage is None:
        raise RefusedError(f"{run.path}: {len(run.lineages)} histories are mixed here; see audit verify {run.path}")
    own = [item for item in proof.proven if item in lineage or not run.lineages]
    beyond = own[-1].step if own else -1
    judged = Auditor(proving(options), registry).judge_pins(run, beyond)
    pins = judged.run.checkpoints if judged else ()
    pinned = [item for item in provable(pins, judged.report) if item.step > beyond] if judged else []
    if pinned:
        return pinned[-1]
    if not own:
        raise RefusedError(f"{run.path}: {proof.nothing_proven}")
    return own[-1]


def _doubt(checkpoint: Checkpoint, findings: Sequence[Finding]) -> str:
    """Why a checkpoint that can be resumed from is not proven."""
    errors = (item for item in findings if item.checkpoint == checkpoint.name and item.severity is Severity.ERROR)
    error = next(errors, None)
    if error is not None:
        return f"{error.message} ({error.rule})"
    return f"not judged ({checkpoint.unread_in_words})" if checkpoint.optional("unread") else "not proven"


def seal_now(checkpoint: Checkpoint) -> Seal:
    """Return the digests that the full-depth judgement took. Raises AuditError if a file has none."""
    scan = checkpoint.scan
    for path, entry in checkpoint.entries.items():
        if entry.kind != DIRECTORY and (path not in scan or scan[path].error):
            raise AuditError(f"{place_of(checkpoint)}/{path}: could not be read, so it has no digest")
    newest = max((checkpoint.entries[path].mtime_ns for path in scan), default=0)
    moment = utc_time()
    files = {path: SealedFile(found.size, found.digest) for path, found in scan.items()}
    return Seal(checkpoint.name, checkpoint.step, moment, newest, files, passed=False)


def place_of(checkpoint: Checkpoint) -> str:
    """Return the path of a checkpoint's directory."""
    return os.path.join(locate(checkpoint.run.path)[0], checkpoint.name)
