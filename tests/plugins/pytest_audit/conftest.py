"""Sessions inside a session: pytester runs each in a directory of its own. The test files request pytester."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import pytest_audit.asserting
import pytest_audit.collecting
import pytest_audit.fixtures  # noqa: F401  stays loaded, so that a test can change it for the inner session
from audit.api import verify
from audit.options import Options
from audit.testing.runs import make_run

Snapshot = Mapping[str, tuple[int, int, bytes]]


@pytest.fixture(scope="session", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load all that a verification needs: pytester forgets what an inner session loads, and numpy loads only once."""
    verify(make_run(tmp_path_factory.mktemp("run"), (1,), layers=1), Options(ledger=False))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option of the session around it reaches an inner one, and lists of failures are not cut at 80 columns."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture
def run(pytester: pytest.Pytester) -> Path:
    """A sound run of two checkpoints, in the directory of the inner session."""
    return Path(make_run(pytester.path / "current_model", (100, 200), layers=1))


@pytest.fixture
def broken(run: Path) -> Path:
    """The run with an error in its newest checkpoint, and a warning in the one before."""
    (run / "checkpoint-200" / "optimizer.pt").unlink()
    (run / "checkpoint-100" / "rng_state.pth").unlink()
    return run


@pytest.fixture
def start(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """``start("--audit", "current_model")`` as ``pytester.runpytest``, without the filters of the session around it."""

    def call(*options: str) -> pytest.RunResult:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            return pytester.runpytest(*options)

    return call


@pytest.fixture
def project(pytester: pytest.Pytester) -> None:
    """One test beside the run."""
    pytester.makepyfile(test_own="def test_own():\n    pass\n")


@pytest.fixture
def snapshot() -> Callable[[Path], Snapshot]:
    """Everything that can be seen of a tree: names, kinds and rights, times, contents."""

    def take(root: Path) -> Snapshot:
        found = {}
        for path in (root, *root.rglob("*")):
            status = os.lstat(path)
            found[str(path)] = (status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        return found

    return take


def ids(result: pytest.RunResult) -> list[str]:
    """The items that ``--collect-only -q`` lists."""
    return [line for line in result.outlines if "::" in line and not line.startswith("ERROR")]
