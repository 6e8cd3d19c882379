"""No run that Trainer trained without an accident gets an error or a warning."""

from collections.abc import Callable

import pytest

from audit.api import verify
from audit.findings import Finding, Severity
from tests.backends.hf_trainer.configurations import CONFIGURATIONS

# A run that cannot be resumed, and says so: the one finding is what its user has to know.
EXPECTED = {"only_model": {"files/weights-only"}}

NAMES = [
    pytest.param(name, marks=() if configuration.sample else (pytest.mark.slow,))
    for name, configuration in CONFIGURATIONS.items()
]


def _serious(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is not Severity.INFO]


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_run_has_no_error_and_no_warning(name: str, clean_run: Callable[[str], str]) -> None:
    report = verify(clean_run(name))

    expected = EXPECTED.get(name, set())
    unexpected = [finding for finding in _serious(report.findings) if finding.rule not in expected]
    assert unexpected == []
    assert {finding.rule for finding in _serious(report.findings)} == expected
    assert report.verdict == ("broken" if expected else "sound")
