"""One verification for each run of a session, shared by all its items, and how it is to be done."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from audit.plugin import (
    AuditError,
    ConfigError,
    Finding,
    Options,
    Registry,
    Report,
    RuleOutcome,
    Severity,
    find_config,
    load_plugins,
    open_run,
    read_config,
    verify,
)
from pytest_audit.asserting import judging_rules

Place = tuple[str, str | None]
"""A rule's id and a checkpoint's name, None for the run."""


class Judged(NamedTuple):
    """A report, and where in it each item finds its own."""

    report: Report
    outcomes: Mapping[Place, RuleOutcome]
    findings: Mapping[Place, Sequence[Finding]]

    def findings_of(self, rule: str, checkpoint: str | None) -> Sequence[Finding]:
        """Return the findings of an item; an item about the run gets all findings of its rule."""
        own = self.findings.get((rule, checkpoint), ()) if checkpoint else ()
        return own or [finding for finding in self.report.findings if finding.rule == rule]


class Audit:
    """The audit of one pytest session. Raises ConfigError if the options are not valid."""

    def __init__(self, config: pytest.Config) -> None:
        self.registry: Registry = load_plugins()
        self.options, self.warnings_fail = _options(config, self.registry)
        self.rules = judging_rules(self.options, self.registry, "pytest options")
        self._judged: dict[str, Judged | AuditError] = {}

    def judged(self, path: str) -> Judged:
        """Verify a run, once in a session. Raises AuditError, the same for every item."""
        if path not in self._judged:
            try:
                self._judged[path] = _by_place(self.verify(path))
            except AuditError as error:
                self._judged[path] = error
        found = self._judged[path]
        if isinstance(found, AuditError):
            raise found
        return found

    def verify(self, path: str, **changes: Any) -> Report:
        """Verify a run again; nothing is written into it. Raises AuditError."""
        options = self.options._replace(**changes)
        if changes:
            judging_rules(options, self.registry, "audit_report")
        return verify(path, options, registry=self.registry)

    def checkpoints(self, path: str) -> tuple[str, ...]:
        """Names of the checkpoints that would be judged, by step; no file is opened. Raises AuditError."""
        name = self.options.backend
        backends = [self.registry.backend(name)] if name else self.registry.backends
        run = open_run(path, backends)
        if not run.judged:  # the core knows whether this is an error, and there is nothing to read
            self.judged(path)
        return tuple(item.name for item in run.judged)


_AUDIT = pytest.StashKey[Audit]()


def audit_of(config: pytest.Config) -> Audit:
    """Return the session's audit, made at its first use. Raises AuditError."""
    if _AUDIT not in config.stash:
        config.stash[_AUDIT] = Audit(config)
    return config.stash[_AUDIT]


def _by_place(report: Report) -> Judged:
    findings: dict[Place, list[Finding]] = {}
    for finding in report.findings:
        findings.setdefault((finding.rule, finding.checkpoint), []).append(finding)
    return Judged(report, {(item.rule, item.checkpoint): item for item in report.outcomes}, findings)


def _options(config: pytest.Config, registry: Registry) -> tuple[Options, bool]:
    """Defaults, then the configuration file, then the ini options, then the command line."""

    def asked(name: str) -> str:
        return str(config.getoption(f"audit_{name}") or config.getini(f"audit_{name}"))

    given = asked("config")
    home = config.inipath.parent if config.inipath and not config.getoption("audit_config") else None
    path = os.path.join(home or config.invocation_params.dir, given) if given else find_config(str(config.rootpath))
    options = read_config(path, registry) if path else Options()
    depth, warnings = asked("depth"), asked("warnings")
    for name, value, allowed in (("depth", depth, ("quick", "full")), ("warnings", warnings, ("fail", "warn"))):
        if value and value not in allowed:
            raise ConfigError(f"--audit-{name}, audit_{name}: {value!r} is neither {' nor '.join(allowed)}")
    select = _names(config, "select")
    options = options._replace(
        depth=depth or options.depth,
        select=select or options.select,
        ignore=options.ignore + _names(config, "ignore"),
        allow_empty=bool(config.getoption("audit_allow_empty") or config.getini("audit_allow_empty")),
        ledger=False,
    )
    return options, warnings == "fail" or (not warnings and options.fail_on is Severity.WARNING)


def _names(config: pytest.Config, option: str) -> tuple[str, ...]:
    words = config.getoption(f"audit_{option}") or config.getini(f"audit_{option}")
    return tuple(name.strip() for word in words for name in word.split(",") if name.strip())
