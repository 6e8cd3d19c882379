"""A copy of the checkout, in which one module at a time is changed and its tests are run."""

import ast
import contextlib
import gc
import io
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

OURS = ("audit", "pytest_audit", "tests")
PRELOADED = ("blake3", "hypothesis.strategies", "isal", "jsonschema", "msgspec", "numpy", "rich.console", "yaml")
"""What costs most of the time of a test file. Imported once: each run of the tests is a fork of this process."""
MEMORY = 8 << 30
ALSO = {
    "audit/judging/guard.py": ("tests/audit/judging/test_memory.py", "tests/audit/ledger/test_rereading.py"),
    "audit/judging/outcomes.py": ("tests/audit/facts/test_trainer_states.py",),
    "audit/ledger/records.py": ("tests/audit/ledger/test_seals.py", "tests/audit/judging/test_recording.py"),
    "audit/training/conclusion.py": ("tests/audit/training/test_session.py",),
    "audit/training/drafting.py": tuple(
        f"tests/audit/training/test_{name}.py" for name in ("gathering", "mixing", "session")
    ),
    "audit/training/session.py": tuple(
        f"tests/audit/training/test_{name}.py" for name in ("exactly_once", "changing", "watching", "gathering")
    ),
    "plugins/audit_rules/loss/jump.py": ("tests/plugins/audit_rules/test_loss_at_batches.py",),
}
"""Tests of modules that are not in the file of their name alone. They are run after it."""


class Ended(NamedTuple):
    """How a run of tests ended: pytest's exit code, negative for a signal, and the seconds of processor time."""

    code: int
    seconds: float
    timed_out: bool
    output: str

    @property
    def failed(self) -> str | None:
        """The file of the test that failed, None if pytest did not come to say so."""
        found = re.search(r"^(?:FAILED|ERROR) ([^:\s]+)", self.output, re.MULTILINE)
        return found[1] if found else None


class Checkout:
    """A copy of the tree below ``root``."""

    def __init__(self, root: Path, home: Path) -> None:
        self.path = home / "checkout"
        self._output = home / "output.txt"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "site")
        shutil.copytree(root, self.path, ignore=ignored, symlinks=True)
        paths, theirs = ([str(home), str(home / "backends"), str(home / "plugins")] for home in (self.path, root))
        # Not all below the root: the environments of tox are in it.
        self._paths = [*paths, *(entry for entry in sys.path if entry and entry not in theirs)]
        os.environ.update(PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
        (home / "empty").mkdir()
        _preload(home / "empty")

    @contextlib.contextmanager
    def changed(self, module: str, source: str) -> Iterator[None]:
        """Hold another source in the place of a module's own."""
        path = self.path / module
        own = path.read_bytes()
        # A compiled file is found by time stamp and size, which two mutants can have in common: there must be none.
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
        path.write_text(source, encoding="utf-8")
        try:
            yield
        finally:
            path.write_bytes(own)

    def test(self, tests: Sequence[str], processor: float, wall: float, compile: bool = False) -> Ended:
        """Run test files until the first failure, for so many seconds of processor time and of the clock."""
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            code = 70
            try:
                code = self._inside(tests, processor, compile)
            except BaseException:
                traceback.print_exc()
            finally:  # a fork must never go on as its parent
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        deadline = time.monotonic() + wall
        while True:
            ended, status, usage = os.wait4(process, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.killpg(process, signal.SIGKILL)
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # what the tests started and did not end
            os.killpg(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
        output = self._output.read_text(encoding="utf-8", errors="replace")
        return Ended(code, usage.ru_utime + usage.ru_stime, code in (-signal.SIGXCPU, -signal.SIGKILL), output)

    def _inside(self, tests: Sequence[str], processor: float, compile: bool) -> int:
        os.setsid()
        descriptor = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (int(processor) + 1, int(processor) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.chdir(self.path)
        sys.path[:] = self._paths
        sys.dont_write_bytecode = not compile
        if not compile:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        for name in [name for name in sys.modules if name.partition(".")[0].startswith(OURS)]:
            del sys.modules[name]
        return _pytest("-x", "--tb=short" if compile else "--tb=no", *tests)


def _preload(empty: Path) -> None:
    # pytest first: it refuses plugins that were imported before it could rewrite them.
    with contextlib.redirect_stdout(io.StringIO()):
        _pytest("--collect-only", "--rootdir", str(empty), "-c", os.devnull, str(empty))
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()  # pytest collects garbage at its end: in each fork only what is new there


def _pytest(*arguments: str) -> int:
    import pytest

    return int(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", *arguments]))


def tests_of(root: Path, module: str) -> list[str]:
    """Return the files that test a module, as tests/test_architecture.py holds the project to it."""
    path = Path(module)
    folder = Path("tests", *path.parent.parts)
    own = folder / f"test_{path.stem.removeprefix('_')}.py"
    inside = ".".join(path.with_suffix("").parts[1:])
    told = Path("tests/audit", f"{_elsewhere(root).get(inside, '')}.py")
    longer = [  # test_guard_exact.py beside test_guard.py, but not the file of the module guard_exact
        file.relative_to(root)
        for file in sorted((root / folder).glob(f"{own.stem}_*.py"))
        if not (root / path.parent / file.name.removeprefix("test_")).exists()
    ]
    found = [file for file in (own, *longer) if (root / file).is_file()]
    if not found and module.startswith("audit/") and (root / told).is_file():
        found = [Path(os.path.normpath(told))]
    # What rules share: test_loss_windows.py of loss/_windows.py, and the rules' own tests.
    if path.stem.startswith("_"):
        shared = folder.parent / f"test_{path.parent.name}{path.stem}.py"
        found += [shared] if (root / shared).is_file() else []
        found += [Path(file) for other in _importing(root, path) for file in tests_of(root, other)]
    return [*dict.fromkeys(map(str, found)), *ALSO.get(module, ())]


def _importing(root: Path, shared: Path) -> list[str]:
    name = re.escape(".".join(shared.with_suffix("").parts[1:]))
    paths = sorted((root / shared.parts[0] / shared.parts[1]).rglob("*.py"))
    texts = ((path.relative_to(root), path.read_text(encoding="utf-8")) for path in paths)
    return [str(path) for path, text in texts if re.search(rf"^ *from {name} import", text, re.MULTILINE)]


def _elsewhere(root: Path) -> dict[str, str]:
    page = root / "tests" / "test_architecture.py"
    if not page.is_file():
        return {}
    for node in ast.parse(page.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="TESTED_BY")], value=value):
                table: dict[str, str] = ast.literal_eval(value)
                return table
    return {}


@contextlib.contextmanager
def copied(root: Path) -> Iterator[Checkout]:
    """Make a copy, and remove it again."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as home:
        yield Checkout(root, Path(home).resolve())
