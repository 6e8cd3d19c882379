"""Open a run, judge it while nothing moves, and put the report together: with one set of options and rules."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from audit.audit_dir import pins_home
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.place import Place
from audit.facts.run import Run, open_run
from audit.facts.traces import trace_in, without_checkpoint
from audit.findings import Finding
from audit.judging import faults
from audit.judging.acceptance import accept, in_vain
from audit.judging.at_rest import judged_at_rest
from audit.judging.engine import Judgement, in_order, judge
from audit.judging.outcomes import Outcomes
from audit.judging.program import is_whole, program_of
from audit.judging.resume import Against, against, resumable, resume_from
from audit.judging.standing import rests_on_structure
from audit.ledger.records import Records, read_records
from audit.manager import Registry, load
from audit.options import Options
from audit.report import CheckpointSummary, Report
from audit.rules import Rule
from audit.storage import DIRECTORY
from audit.text import local_date

Progress = Callable[[int, int], None]
"""Called with (bytes read since the last call, bytes in all) during a full-depth scan, from several threads."""


def refuse_foreign(run: Run) -> None:
    """Raise AuditError if another program wrote the checkpoints, under the names of a trainer that is read."""
    if run.foreign is not None:
        raise AuditError(f"{run.path}: {run.foreign}")


def refuse_unread(run: Run) -> None:
    """Raise AuditError if there are checkpoints in the run, but none of a trainer and name that a backend reads.

    What was trained with the ledger beside it is not refused: its checkpoints are lost, which is a finding.
    """
    refuse_foreign(run)
    if run.checkpoints or run.homes or run.records.highest_reached:
        return
    found = trace_in(run.storage)
    if found is not None and found.checkpoint:
        raise AuditError(without_checkpoint(run.path, found))


class Judged(NamedTuple):
    """An opened run and the report on it."""

    run: Run
    report: Report


class Auditor:
    """Judges runs by the rules that ``options`` choose; its clock starts when it is made.

    With ``exact``, rules that find a resume possible but not exact block it, too (:attr:`Rule.breaks_exactness`).
    """

    def __init__(self, options: Options, registry: Registry | None = None, *, exact: bool = False) -> None:
        self.options = options
        self.registry = registry or load()
        self._exact = exact
        self._rules: tuple[Rule, ...] | None = None
        self._started = time.perf_counter()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that the options choose."""
        if self._rules is None:
            self._rules = tuple(
                rule._replace(blocks_resume=True) if self._exact and rule.breaks_exactness else rule
                for rule in self.options.chosen(self.registry.rules)
            )
        return self._rules

    @property
    def program(self) -> str | None:
        """What must be the same for a remembered judgement to hold; None if nothing can be remembered."""
        return program_of(self.registry)

    def open(self, path: str | Place, records: Records | None = None, progress: Progress | None = None) -> Run:
        """Open a run as the options ask for, with what its ledger remembers. Raises AuditError."""
        options = self.options
        place = path if isinstance(path, Place) else self.registry.place(path, options.ledger_dir)
        known = records or Records()
        return open_run(
            place,
            [self.registry.backend(options.backend)] if options.backend else self.registry.backends,
            depth=options.depth,
            jobs=options.jobs,
            settle_seconds=options.settle_seconds,
            progress=progress,
            records=known if options.cache else known._replace(scans={}),
        )

    def open_quick(self, path: str) -> Run:
        """Open a run for its structure only, with what its ledger remembers; records nothing. Raises AuditError."""
        quick = Auditor(self.options._replace(depth="quick"), self.registry)
        place = self.registry.place(path, self.options.ledger_dir)
        return quick.open(place, read_records(place.home, write=False)[0])

    def judge(
        self,
        path: str | Place,
        records: Records | None = None,
        progress: Progress | None = None,
        admit: Callable[[Run], None] = refuse_unread,
    ) -> Judged:
        """Open a run and judge it until nothing that the judgement rests on changed meanwhile.

        ``admit`` hears of each opened run before it is judged, and may raise AuditError. Raises AuditError.
        """

        def judged(run: Run) -> Report:
            known = self._recall(run)  # first, so that who asks for a trainer state does not have it read
            admit(run)
            return self.report(run, known)

        return Judged(*judged_at_rest(lambda: self.open(path, records, progress), judged))

    def judge_pins(self, run: Run, beyond: int) -> Judged | None:
        """Judge the pinned checkpoints of a run like any others; None if there is none of a step after ``beyond``.

        The pins' directory is a run of its own. Hard links are the files that were sealed, so what is remembered of
        them holds.
        """
        home = pins_home(run.storage.root) if run.storage.root is not None else None
        if home is None:
            return None
        of_run = run.records
        known = Records(
            seals=of_run.seals, scans=of_run.scans, accepted=of_run.accepted, given_up=of_run.given_up
        )  # a pin of steps that were given up stays until the going back is finished
        if self.open(home, known).highest <= beyond:
            return None
        return self.judge(home, known)

    def _recall(self, run: Run) -> Outcomes | None:
        """Take what is remembered of a run that is to be judged."""
        # Without a ledger nothing will be remembered, and nothing is if none was read.
        recalls = run.depth == "full" and (self.options.ledger or bool(run.records.scans))
        program = self.program if recalls and is_whole(self.registry, self.rules) else None
        return Outcomes(run, program, self.options) if program is not None else None

    def report(self, run: Run, known: Outcomes | None = None) -> Report:
        """Apply the rules to an opened run and put the report together; ``known``: what was recalled already."""
        run.memory = known = known or self._recall(run)
        judgement, notes = self._with_faults(
            run, judge(run, self.rules, self.options.rules, self.options.severity, known)
        )
        findings = accept(judgement.findings, run.records.accepted, self.options.accept, local_date())
        found = against(findings)
        checkpoints = tuple(_summary(item, found) for item in run.judged)
        full = self.options.depth == "full"
        scanned = run.bytes_scanned if full and run.storage.root is not None else 0
        return Report(
            path=run.path,
            backend=run.backend.name if run.checkpoints else None,
            latest_step=max((item.step for item in run.judged), default=None),
            save_total_limit=run.optional("save_total_limit"),
            resume_from=resume_from(run, found),
            checkpoints=checkpoints,
            findings=findings,
            outcomes=judgement.outcomes,
            depth=self.options.depth,
            bytes_read=scanned + run.storage.bytes_read,
            seconds=self.seconds,
            notes=(*self._notes(run, findings), *notes),
        )

    def _with_faults(self, run: Run, judgement: Judgement) -> tuple[Judgement, tuple[str, ...]]:
        """Add to a judgement by structure what a look at every byte found before and is still so; notes say of what."""
        if run.depth == "full" or not faults.any_known(run.records) or (program := self.program) is None:
            return judgement, ()
        known = faults.recalled(run, program)
        found = faults.chosen(known, (rule.id for rule in self.rules), self.options.severity)
        run.found_blocked = frozenset(name for name, items in found.items() if items)
        if not run.found_blocked:
            return judgement, ()
        findings, outcomes = faults.added(judgement.findings, judgement.outcomes, found)
        notes = tuple(
            f"{name}: found broken when every byte of it was read, {item.when}, and not touched since"
            for name, item in known.items()
            if name in run.found_blocked
        )
        return Judgement(in_order(findings, run), outcomes), notes

    def _notes(self, run: Run, findings: Sequence[Finding]) -> Iterator[str]:
        """What the configuration accepts in vain; without the weights, or for one checkpoint, that is not known."""
        chosen = {rule.id for rule in self.rules} if self.options.depth == "full" and not run.only else set()
        return in_vain(self.options.accept, findings, chosen, local_date())

    @property
    def seconds(self) -> float:
        """Seconds since this auditor was made."""
        return time.perf_counter() - self._started


def _summary(checkpoint: Checkpoint, findings: Against) -> CheckpointSummary:
    goes = resumable(checkpoint, findings)
    return CheckpointSummary(
        checkpoint.name,
        checkpoint.step,
        goes,
        checkpoint.optional("seal") is not None,
        sum(entry.kind != DIRECTORY for entry in checkpoint.entries.values()),
        checkpoint.bytes,
        not (goes and checkpoint.optional("unread")),
        rests_on_structure(checkpoint),
    )
