"""The hooks of a session that judges runs; other sessions never load this file."""

import os
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from audit.plugin import AuditError
from pytest_audit.items import AuditRule, AuditRun
from pytest_audit.judging import audit_of
from pytest_audit.targets import Target, targets_of
from pytest_audit.text import Violated, for_pytest


def targets(config: pytest.Config) -> tuple[Target, ...]:
    """The runs that the command line names, else those of the ini option. Raises AuditError: no such run."""
    words: Sequence[str] = config.option.audit or [str(path) for path in config.getini("audit_runs")]
    return targets_of(words, str(config.invocation_params.dir), str(config.rootpath))


class Collecting:
    """Collects the runs of one session."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.targets: tuple[Target, ...] = ()
        self.apart: tuple[str, ...] = ()
        """Runs in which no tests are looked for: whoever can write a checkpoint must not have pytest import it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Refuse what cannot be judged before anything else starts. Raises UsageError, exit code 4."""
        if pytest.version_tuple < (
            8,
        ):  # it looks for a conftest.py beside a node, and would import that of a checkpoint
            raise pytest.UsageError(f"--audit, audit_runs: needs pytest 8 or newer, this is {pytest.__version__}")
        try:
            audit_of(self.config)
            self.targets = targets(self.config)
        except AuditError as error:
            raise pytest.UsageError(for_pytest(error)) from error
        if not self.targets:
            raise pytest.UsageError("--audit names no run")
        _refuse_cache_in_checkpoint(self.config, self.targets)
        root = os.path.join(self.config.rootpath, "")
        self.apart = tuple(target.root for target in self.targets if not root.startswith(os.path.join(target.root, "")))

    def pytest_report_header(self) -> str:
        """Return what is judged, and how."""
        audit = audit_of(self.config)
        runs = ", ".join(target.id for target in self.targets)
        return f"audit: {runs} (depth {audit.options.depth}, {len(audit.rules)} rules)"

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Keep pytest from collecting, and so importing, tests in a run that is judged."""
        path = str(collection_path)
        return True if any(path == root or path.startswith(root + os.sep) for root in self.apart) else None

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the runs to what the session collects."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            audit = audit_of(self.config)
            report.result = [
                *(report.result or ()),
                *(
                    AuditRun.from_parent(
                        collector,
                        name=target.id,
                        nodeid=target.id,
                        path=Path(target.root),
                        target=target,
                        audit=audit,
                    )
                    for target in self.targets
                ),
            ]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Judge before pytest looks at the marks, so that pytest itself skips what is not applicable."""
        if isinstance(item, AuditRule):
            item.prepare()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Leave out the traceback in the set-up, too, where pytest does not ask the item."""
        report = yield
        if (
            isinstance(item, AuditRule)
            and call.when == "setup"
            and call.excinfo
            and isinstance(call.excinfo.value, Violated)
        ):
            report.longrepr = item.repr_failure(call.excinfo)
        return report


def _refuse_cache_in_checkpoint(config: pytest.Config, targets: Sequence[Target]) -> None:
    """Raise UsageError if pytest's cache would be in a checkpoint: an added file makes a trainer delete another one."""
    if not config.pluginmanager.hasplugin("cacheprovider"):
        return
    cache = os.path.normpath(os.path.join(config.rootpath, os.path.expandvars(config.getini("cache_dir"))))
    for target in targets:
        first = os.path.relpath(cache, target.root).split(os.sep)[0]
        if first.startswith("checkpoint-"):
            raise pytest.UsageError(
                f"pytest's cache would be written into {target.id}/{first}; start pytest in another directory, "
                "or with -p no:cacheprovider"
            )
