"""What the callback does on process 0, without transformers: check the start of a training and each save."""

import logging
import os
import time
from typing import TYPE_CHECKING

from audit.plugin import (
    AuditError,
    Finding,
    Guarded,
    GuardLimits,
    Options,
    ResumeRefused,
    Severity,
    checkpoint_name,
    consult_guard,
    detach_pins,
    load_plugins,
    pin_checkpoint,
    read_config,
    record_training_start,
    verify,
)

if TYPE_CHECKING:
    from audit.plugin import Decision, Registry, Report

LOG = logging.getLogger("audit")


class Watch:
    """One training. With ``strict``, what cannot be verified counts as an error; ``fresh`` allows starting over.

    ``broken`` allows going on from a checkpoint that is not resumable, which is then only logged.
    ``config`` is the path of a configuration that says how to judge, "" for none. Raises AuditError if it is not valid.
    """

    def __init__(self, *, pin: bool, depth: str, strict: bool, fresh: bool, broken: bool, config: str = "") -> None:
        self._pin = pin
        self._strict = strict
        self._fresh = fresh
        self._broken = broken
        # All processes have written when this is called: nothing is in progress.
        asked = read_config(config, load_plugins()) if config else Options()
        self._options = asked._replace(depth=depth, settle_seconds=0.0, allow_empty=True)
        self._known: set[tuple[str, str | None, str | None]] = set()
        self._of_before: set[str] = set()
        self._noted: set[str] = set()
        self._of_other_history: frozenset[str] = frozenset()
        self._plugins: Registry | None = None
        self._guarded: Guarded | None = None

    def begin(self, run: str, step: int, last: int) -> str | None:
        """Return why training may not start at ``step``, or None; ``last`` is the step where it will end."""
        self._known, self._of_before, self._of_other_history, self._guarded = set(), set(), frozenset(), None
        try:
            return self._begin(run, step, last)
        except Exception as error:
            return self._could_not(f"{run} could not be verified before training", error)

    def _begin(self, run: str, step: int, last: int) -> str | None:
        self._plugins = load_plugins()
        if not os.path.isdir(run):
            return None
        # Nothing is recorded: this is neither a verification nor a step back.
        guarded = consult_guard(run, GuardLimits(), self._options._replace(ledger=False), registry=self._plugins)
        decision, report = guarded
        for outcome in report.crashed:
            LOG.warning("%s: rule %s crashed: %s; please report this", run, outcome.rule, outcome.reason)
        if step == 0 and not decision.fresh and not self._fresh:
            self._guarded = guarded
            if decision.checkpoint is None:
                reason = (decision.refusal or "").replace("--allow-fresh", 'AuditCallback(fresh="allow")')
                return f"training would start at step 0, but {reason}; {ADVICE}"
            path = os.path.join(run, decision.checkpoint)
            return (
                f"training would start at step 0, but {path} (step {decision.step}) can be resumed from: pass "
                f"resume_from_checkpoint={path!r} to trainer.train(); {ADVICE}"
            )
        if step and (broken := _why_not(run, step, decision, report)):
            if not self._broken:
                self._guarded = guarded
                return f'{broken}; AuditCallback(resume="warn") only logs this'
            LOG.error("%s", broken)
        elif step and decision.step is not None and decision.step > step:
            LOG.warning("%s: training resumes at step %d, but %s could be resumed from", run, step, decision.checkpoint)
        for item in report.findings:
            here = step > 0 and item.checkpoint == checkpoint_name(step) and item.accepted is None
            if here and self._plugins.rule(item.rule).breaks_exactness:
                LOG.warning("%s: training goes on from step %d: %s (%s)", run, step, item.message, item.rule)
        self._known = {_key(item) for item in report.findings}
        self._of_before = {item.rule for item in report.findings if item.checkpoint is None}
        # Beside checkpoints of a longer training the new ones are another history, which has already been reported.
        if any(item.step > step for item in report.checkpoints):
            self._of_other_history = frozenset({"history/forked", "steps/reset"})
        if report.checkpoints or not decision.fresh:
            record_training_start(run, step)
        if self._pin:
            # Trainer writes into existing files; one that is at its end saves its last step again.
            detach_pins(run, step if step < last else -1)
        return None

    def saved(self, run: str, checkpoint: str) -> str | None:
        """Verify and pin what was just saved; log what is wrong with it and return it in one line, or None."""
        begin = time.perf_counter()
        try:
            if not os.path.isdir(os.path.join(run, checkpoint)):
                LOG.warning("%s/%s is not there after the save, so it was not verified", run, checkpoint)
                return None
            report = verify(run, self._options, registry=self._plugins or load_plugins())
            wrong = self._log_findings(run, report, checkpoint)
            for outcome in report.crashed:
                LOG.warning("rule %s crashed: %s; please report this", outcome.rule, outcome.reason)
            proven = any(item.name == checkpoint and item.resumable and item.sealed for item in report.checkpoints)
            if not wrong and proven and self._pin:
                pin_checkpoint(run, checkpoint)
            if not wrong:
                unread = any(item.name == checkpoint and not item.judged for item in report.checkpoints)
                words = "verified, sealed" if proven else "not judged" if unread else "verified"
                LOG.info("%s/%s: %s in %.3f s", run, checkpoint, words, time.perf_counter() - begin)
            return wrong
        except Exception as error:
            return self._could_not(f"{run}/{checkpoint} could not be verified or pinned", error)

    def _log_findings(self, run: str, report: "Report", checkpoint: str) -> str | None:
        """Log every new finding and note once; return the first error of this checkpoint, or a new one of the run."""
        first = None
        for item in report.findings:
            mine = item.checkpoint == checkpoint
            fresh = _key(item) not in self._known
            counts = (
                item.severity is Severity.ERROR
                and item.accepted is None
                and (mine or (item.checkpoint is None and item.rule not in self._of_before))
                and item.rule not in self._of_other_history
            )
            line = f"{os.path.join(run, item.checkpoint or '')}: {item.message} ({item.rule})"
            if counts:
                first = first or line
                LOG.error("%s", line)
            elif fresh and item.accepted is not None:
                LOG.info("%s: accepted: %s", line, item.accepted)
            elif fresh and item.severity is not Severity.INFO:
                LOG.warning("%s", line)
            self._known.add(_key(item))
        for note in report.notes:
            if note not in self._noted:
                LOG.warning("%s: %s", run, note)
        self._noted.update(report.notes)
        return first

    def _could_not(self, what: str, error: Exception) -> str | None:
        expected = isinstance(error, (AuditError, OSError))
        LOG.error("%s: %s", what, error, exc_info=None if expected else error)
        return f"{what}: {error}" if self._strict else None

    def refused(self, message: str) -> AuditError | ResumeRefused:
        """Return the exception for the message of ``begin``, on this process or another."""
        if self._guarded is None:
            return AuditError(message)
        decision, report = self._guarded
        return ResumeRefused(message, report, decision)


def _why_not(run: str, step: int, decision: "Decision", report: "Report") -> str | None:
    """Say why training may not go on from the checkpoint of ``step`` in ``run``, None if it may or is not there.

    Where Trainer has read it from is not known to a callback: if a pin of that step is sound, it may have been that.
    """
    name = checkpoint_name(step)
    found = next((item for item in report.checkpoints if item.name == name), None)
    if found is None or found.resumable or decision.step == step:
        return None
    blocking = [item for item in report.findings if item.blocks_resume and item.checkpoint in (name, None)]
    first = min(blocking, key=lambda item: item.checkpoint is None, default=None)
    why = f"{first.message} ({first.rule})" if first else "it was not written to its end"
    if decision.checkpoint is not None:
        other, force = f"resume from {os.path.join(run, decision.checkpoint)} (step {decision.step})", ""
    else:
        other, force = "no other checkpoint can be resumed from", " --force"  # the last one is not moved without
    return (
        f"training goes on from step {step}, but {os.path.join(run, name)} is not resumable: {why}; {other}; if step {step} "
        f"was read from elsewhere, move {name} away: `audit quarantine {run} {name}{force}`"
    )


ADVICE = 'or train into another output_dir; AuditCallback(fresh="allow") starts over'


def _key(item: Finding) -> tuple[str, str | None, str | None]:
    return item.rule, item.checkpoint, item.file
