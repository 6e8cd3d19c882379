"""What the fixtures do; pytest finds the fixtures themselves in plugin.py."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from audit.plugin import AuditError, Report
from pytest_audit.collecting import targets
from pytest_audit.judging import audit_of
from pytest_audit.text import for_pytest

NO_RUN = "no run is named: use --audit RUN or the ini option audit_runs, or override the fixture audit_run"


def the_run(config: pytest.Config) -> Path:
    """Return the one run that the session names; fail if there is none, or more than one."""
    try:
        found = targets(config)
    except AuditError as error:
        raise _failed(error) from None
    if not found:
        pytest.fail(NO_RUN, pytrace=False)
    if len(found) > 1:
        names = ", ".join(target.id for target in found)
        pytest.fail(f"several runs are named ({names}); override the fixture audit_run", pytrace=False)
    return Path(found[0].root)


def reporting(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Return ``audit_report(run=None, *, depth=None, select=(), ignore=())``."""

    def audit_report(
        run: str | os.PathLike[str] | None = None,
        *,
        depth: str | None = None,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
    ) -> Report:
        __tracebackhide__ = True
        changes: dict[str, object] = {}
        if depth:
            changes["depth"] = depth
        if select:
            changes["select"] = tuple(select)
        if ignore:
            changes["ignore"] = tuple(ignore)
        path = os.path.abspath(run if run is not None else request.getfixturevalue("audit_run"))
        try:
            audit = audit_of(request.config)
            if run is None and not changes:
                return audit.judged(path).report
            return audit.verify(path, **changes)  # a run that a test makes may have changed since the last call
        except AuditError as error:
            raise _failed(error) from None

    return audit_report


def newest_resumable(request: pytest.FixtureRequest) -> Path:
    """Return the newest resumable checkpoint of the session's run, from the verification that all items share."""
    report: Report = request.getfixturevalue("audit_report")()
    run: Path = request.getfixturevalue("audit_run")
    if report.crashed:
        pytest.fail(f"{run}: rule {report.crashed[0].rule} crashed, so nothing is handed out", pytrace=False)
    if report.resume_from is None:
        pytest.fail(f"{run}: {report.resume_in_words}", pytrace=False)
    return Path(run, report.resume_from)


def _failed(error: AuditError) -> BaseException:
    """The failure of a test that could not be judged: one line, no traceback."""
    return pytest.fail.Exception(for_pytest(error), pytrace=False)
