"""Fixtures for the tests of a training script: a rehearsal is one call, and fails with what differs and why.

Every pytest session loads this, so nothing else is imported before a fixture is called.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from audit.plugin import RehearsalReport


class RehearsalWarning(UserWarning):
    """What was compared is the same, and it is less than was asked for."""


@pytest.fixture
def audit_rehearse(request: pytest.FixtureRequest, tmp_path: Path) -> "Callable[..., RehearsalReport]":
    """Rehearse a run, by default that of ``audit_run``: ``audit_rehearse(make_trainer)``; fail if something differs."""

    def call(
        make_trainer: Callable[[], Any],
        run: str | os.PathLike[str] | None = None,
        checkpoint: int | None = None,
        steps: int = 5,
        *,
        exact: bool = False,
        callbacks: Sequence[str | type] = (),
    ) -> "RehearsalReport":
        __tracebackhide__ = True
        from audit_hf_trainer import rehearse

        path = request.getfixturevalue("audit_run") if run is None else run
        return _passed(
            lambda: rehearse(make_trainer, path, checkpoint, steps, exact=exact, callbacks=callbacks, scratch=tmp_path)
        )

    return call


@pytest.fixture
def audit_straight_against_resumed(tmp_path: Path) -> "Callable[..., RehearsalReport]":
    """Train straight, and again with a save and a resume: ``audit_straight_against_resumed(make_trainer, steps=6)``."""

    def call(
        make_trainer: Callable[[], Any], steps: int, at: int | None = None, *, callbacks: Sequence[str | type] = ()
    ) -> "RehearsalReport":
        __tracebackhide__ = True
        from audit_hf_trainer import straight_against_resumed

        return _passed(lambda: straight_against_resumed(make_trainer, steps, at, callbacks=callbacks, scratch=tmp_path))

    return call


def _passed(rehearsal: "Callable[[], RehearsalReport]") -> "RehearsalReport":
    """Return the report on what is the same; else fail the test with the lines of the report, or why there is none."""
    __tracebackhide__ = True
    from audit.plugin import AuditError

    try:
        report = rehearsal()
    except AuditError as error:
        pytest.fail(str(error), pytrace=False)
    if not report:
        pytest.fail(str(report), pytrace=False)
    for note in report.notes:
        warnings.warn(note, RehearsalWarning, stacklevel=3)
    return report
