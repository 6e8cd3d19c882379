"""Settings that hold for every test, and the runs of the real Trainer. Builders of files live in audit.testing."""

import os
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from audit import manager

# No deadline: the machine may be busy with something else. The same examples every time, so that a change is to blame
# for what fails; the campaign looks for new ones.
settings.register_profile(
    "everyday", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("campaign", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table of faults in the documentation."""
    parser.addoption("--update-faults", action="store_true", help="write docs/faults.md anew")


ASKS = ("importorskip", "find_spec", "clean_run")
"""What is in the text of a file with a test that is skipped where a package is missing."""
TRAINED = Path(__file__).parent / "backends" / "hf_trainer"
MISSING = ("could not import", "not installed", "is in no extra")
"""What the reason of such a skip says."""


@cache
def _asks(file: Path) -> bool:
    beside = file.with_name("conftest.py")
    texts = [path.read_text(encoding="utf-8") for path in (file, beside) if path.exists() and path != Path(__file__)]
    return TRAINED in file.parents or any(word in text for text in texts for word in ASKS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a package of an extra: tox runs every test once, these where the extras are."""
    for item in items:
        if _asks(item.path):
            item.add_marker("extra")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for a missing package and not marked: no environment of tox would run it."""
    report = yield
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if any(word in reason for word in MISSING) and item.get_closest_marker("extra") is None:
        report.outcome, report.longrepr = "failed", f"it has no marker `extra`, which conftest.py sets: {reason}"
    return report


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return ``train(name) -> path``: a healthy run of that configuration. Tests must not change it."""
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tests.backends.hf_trainer.configurations import CONFIGURATIONS

    home = tmp_path_factory.mktemp("runs")
    trained: dict[str, str] = {}

    def train(name: str) -> str:
        if name not in trained:
            path = str(home / name)
            CONFIGURATIONS[name].train(path)
            trained[name] = path
        return trained[name]

    return train


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """A process has one registry: a rule that a test replaces must be seen there, and nowhere else."""
    manager._registry_of.cache_clear()
    yield
    manager._registry_of.cache_clear()
