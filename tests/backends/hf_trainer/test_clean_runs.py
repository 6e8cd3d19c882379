"""No run that Trainer trained without an accident gets an error or a warning."""

from collections.abc import Callable

import pytest

from audit.api import verify
from audit.findings import Severity
from tests.backends.hf_trainer.configurations import CONFIGURATIONS, TRUE_ALARMS

NAMES = [
    pytest.param(name, marks=() if configuration.sample else (pytest.mark.slow,))
    for name, configuration in CONFIGURATIONS.items()
]


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_run_has_no_error_and_no_warning(name: str, clean_run: Callable[[str], str]) -> None:
    report = verify(clean_run(name))

    found = {finding.rule for finding in report.findings if finding.severity is not Severity.INFO}
    assert found == TRUE_ALARMS.get(name, set())
    assert report.crashed == ()
    assert report.verdict == ("suspect" if found else "sound")


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_run_can_be_resumed_from_its_newest_checkpoint(name: str, clean_run: Callable[[str], str]) -> None:
    report = verify(clean_run(name))

    newest = None if name == "only_model" or name in TRUE_ALARMS else f"checkpoint-{report.latest_step}"
    assert report.resume_from == newest
