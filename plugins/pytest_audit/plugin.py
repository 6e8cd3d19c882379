"""What pytest loads in every session: options and fixtures. Everything else is imported when a session uses it.

Nothing of ``audit`` is imported here: sessions that do not use it must not pay for it, and with ``pytest --cov=audit``
it must not be loaded before the measurement begins.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from audit.plugin import Report

OPTIONS = (
    ("select", "RULES", "only these rules or families, by comma"),
    ("ignore", "RULES", "leave these rules or families out, by comma"),
    ("depth", "DEPTH", "quick: structure only; full (the default): every byte"),
    ("warnings", "fail|warn", "what a finding of severity warning is: a failure, or a pytest warning (the default)"),
    ("config", "FILE", "configuration instead of audit.toml or pyproject.toml in the root directory or above it"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--audit`` and what goes with it, each also as an ini option."""
    group = parser.getgroup("audit", "checkpoints of training runs (checkpoint-audit)")
    group.addoption(
        "--audit",
        action="append",
        default=[],
        metavar="RUN",
        help="judge this run, the directory that contains checkpoint-N: one item for every rule and checkpoint. Without "
        "paths of tests nothing else is collected. Also accepts one checkpoint, or the id of an item",
    )
    parser.addini("audit_runs", "runs that a plain `pytest` judges besides its tests", type="paths", default=[])
    for name, metavar, text in OPTIONS:
        several = name in {"select", "ignore"}
        group.addoption(f"--audit-{name}", action="append" if several else "store", metavar=metavar, help=text)
        if several:
            parser.addini(f"audit_{name}", text, type="args", default=[])
        else:
            parser.addini(f"audit_{name}", text, type="string", default="")
    text = "a run without any checkpoint is expected"
    group.addoption("--audit-allow-empty", action="store_true", default=None, help=text)
    parser.addini("audit_allow_empty", text, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and, if runs are to be judged, the hooks that collect them."""
    config.addinivalue_line("markers", "audit: one rule on one checkpoint of a training run, collected by --audit")
    named = bool(config.option.audit)
    if not named and (config.args_source is config.ArgsSource.ARGS or not config.getini("audit_runs")):
        return
    from pytest_audit.collecting import Collecting

    if named and config.args_source is not config.ArgsSource.ARGS and _on_command_line(config):
        config.args, config.args_source = [], config.ArgsSource.ARGS
    config.pluginmanager.register(Collecting(config), "audit-collecting")


def _on_command_line(config: pytest.Config) -> bool:
    """Whether ``--audit`` was given on the command line: in addopts it must not replace all tests."""
    return any(str(word) == "--audit" or str(word).startswith("--audit=") for word in config.invocation_params.args)


@pytest.fixture(scope="session")
def audit_run(request: pytest.FixtureRequest) -> Path:
    """The run that ``--audit`` or the ini option ``audit_runs`` names. Override it to name another."""
    from pytest_audit.fixtures import the_run

    return the_run(request.config)


@pytest.fixture(scope="session")
def audit_report(request: pytest.FixtureRequest) -> "Callable[..., Report]":
    """Judge a run: ``audit_report()`` the session's own one, ``audit_report(path)`` any other, anew at each call."""
    from pytest_audit.fixtures import reporting

    return reporting(request)


@pytest.fixture(scope="session")
def resumable_checkpoint(request: pytest.FixtureRequest) -> Path:
    """The newest checkpoint of ``audit_run`` that can be resumed from; fails if there is none."""
    from pytest_audit.fixtures import newest_resumable

    return newest_resumable(request)
