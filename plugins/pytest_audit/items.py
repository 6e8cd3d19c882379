"""The nodes: a run, its checkpoints, and an item for every rule on each of them.

Collecting only lists names. The verification is done when the first item is set up, so listing the items, as editors do
all the time, reads no byte of a checkpoint; ``--durations`` shows the time as the set-up of that item.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.plugin import AuditError, Finding, Outcome, Rule, Severity
from pytest_audit.judging import Audit
from pytest_audit.targets import Target
from pytest_audit.text import AuditWarning, NotJudged, Violated, for_pytest, in_one_line, lines_of, printable, violated


class AuditRun(pytest.Collector):
    """One run: the rules about the run as a whole, then its checkpoints by step."""

    def __init__(self, *, target: Target, audit: Audit, **node: Any) -> None:
        super().__init__(**node)
        self.target = target
        self.audit = audit
        self.add_marker("audit")
        if self.config.pluginmanager.hasplugin("xdist"):  # with --dist loadgroup one worker judges the whole run
            self.add_marker(pytest.mark.xdist_group(f"audit {target.id}"))

    def collect(self) -> Iterator["AuditRule | AuditCheckpoint"]:
        try:
            names = self.audit.checkpoints(self.target.path)
        except AuditError as error:
            raise self.CollectError(for_pytest(error)) from error
        places = [(None, "run"), *((name, "checkpoint") for name in names)]
        known = {(name, rule.id) for name, scope in places for rule in self.audit.rules if rule.scope == scope}
        for part in self.target.parts:
            if part.rule and (part.checkpoint, part.rule) not in known:
                raise self.CollectError(f"there is no item {printable(f'{self.place(part.checkpoint)}::{part.rule}')}")
        for rule in self.audit.rules:
            if rule.scope == "run" and self.target.holds(None, rule.id):
                yield AuditRule.from_parent(self, name=rule.id, rule=rule, run=self)
        for name in names:
            if any(self.target.holds(name, rule.id) for rule in self.audit.rules if rule.scope == "checkpoint"):
                yield AuditCheckpoint.from_parent(
                    self, name=name, nodeid=self.place(name), path=self.path / name, run=self
                )

    def place(self, checkpoint: str | None) -> str:
        """The id of a checkpoint's node, or the run's own."""
        return os.path.normpath(f"{self.target.id}/{checkpoint}") if checkpoint else self.target.id


class AuditCheckpoint(pytest.Collector):
    """One checkpoint of a run."""

    def __init__(self, *, run: AuditRun, **node: Any) -> None:
        super().__init__(**node)
        self.run = run

    def collect(self) -> Iterator["AuditRule"]:
        for rule in self.run.audit.rules:
            if rule.scope == "checkpoint" and self.run.target.holds(self.name, rule.id):
                yield AuditRule.from_parent(self, name=rule.id, rule=rule, run=self.run, checkpoint=self.name)


class AuditRule(pytest.Item):
    """One rule on one checkpoint, or on the run where ``checkpoint`` is None."""

    def __init__(self, *, rule: Rule, run: AuditRun, checkpoint: str | None = None, **node: Any) -> None:
        super().__init__(**node)
        self.rule = rule
        self.run = run
        self.checkpoint = checkpoint

    def prepare(self) -> None:
        """Judge the run if that is not done; mark items that are not applicable as skipped. Raises NotJudged."""
        try:
            judged = self.run.audit.judged(self.run.target.path)
        except AuditError as error:
            raise NotJudged(f"The run could not be judged: {for_pytest(error)}", for_pytest(error)) from None
        found = judged.outcomes.get((self.rule.id, self.checkpoint))
        if found is None:
            self.add_marker(pytest.mark.skip(reason=f"{self.checkpoint} is gone since the items were collected"))
        elif found.outcome is Outcome.ERROR:
            crash = printable(f"rule {self.rule.id} crashed: {found.reason}; please report this")
            raise NotJudged(crash, crash)
        elif found.outcome is Outcome.NOT_APPLICABLE:
            self.add_marker(pytest.mark.skip(reason=printable(found.reason or "not applicable")))

    def runtest(self) -> None:
        """Fail for errors, warn for warnings, note the rest; an expected failure if what would fail is accepted."""
        target = self.run.target
        judged = self.run.audit.judged(target.path)
        if judged.outcomes[self.rule.id, self.checkpoint].outcome is not Outcome.FAIL:
            return
        failing, accepted = [], []
        for finding in judged.findings_of(self.rule.id, self.checkpoint):
            self.user_properties.append((f"audit_{finding.word}", in_one_line(finding)))
            if finding.accepted is not None:
                accepted.append(printable(f"accepted: {finding.accepted}"))
            if finding.accepted is not None or finding.severity is Severity.INFO:
                self.add_report_section("call", "audit", "\n".join(lines_of(finding)))
            elif finding.severity is Severity.ERROR or self.run.audit.warnings_fail or self._warn(finding):
                failing.append(finding)
        if failing:
            raise violated(failing, judged.report, whole=target.path == target.root)
        if accepted:
            pytest.xfail("; ".join(dict.fromkeys(accepted)))

    def _warn(self, finding: Finding) -> bool:
        """Issue a pytest warning; return whether the session's filters make it an error."""
        # Its place is the directory: Python would read a file that is named here to quote a line of it.
        place = os.path.relpath(self.path, self.config.invocation_params.dir)
        try:
            warnings.warn_explicit(in_one_line(finding), AuditWarning, place, 0, module="pytest_audit")
        except AuditWarning:
            return True
        return False

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what was found without a traceback: it would only show our own code."""
        if not isinstance(excinfo.value, Violated):
            return super().repr_failure(excinfo, style)
        shown = excinfo.getrepr(style="value")
        if shown.reprcrash is not None:  # what the list of failures, --tb=line and JUnit show
            shown.reprcrash.path, shown.reprcrash.lineno = str(self.path), 0
            shown.reprcrash.message = excinfo.value.headline
        return shown

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.rule.id} in {self.parent.nodeid if self.parent else self.path}"
