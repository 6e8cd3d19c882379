"""Trees of tiny runs, an hour old, and passes over them."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.fleet.engines.local import audit as local
from audit.fleet.passes import Progress, Summary, order_of, run_pass
from audit.fleet.planning import Choice
from audit.fleet.rows import Audited
from audit.fleet.store import Store
from audit.manager import load
from audit.options import Options
from audit.testing.runs import make_run

HOUR = 3600

Grow = Callable[..., list[str]]
Pass = Callable[..., Summary]


def age(path: str | os.PathLike[str], seconds: float = HOUR) -> None:
    """Set the times of all that is below a path; links stay."""
    then = time.time() - seconds
    for place, _, names in os.walk(path, topdown=False):
        for name in ("", *names):
            if not os.path.islink(os.path.join(place, name)):
                os.utime(os.path.join(place, name), (then, then))


@pytest.fixture(scope="session")
def _seed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_run(tmp_path_factory.mktemp("seed") / "run", (1, 2), rank=1, layers=1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The root of a fleet."""
    root = tmp_path / "tree"
    root.mkdir()
    return root


@pytest.fixture
def grow(tree: Path, _seed: str) -> Grow:
    """``grow("a/run", ...)`` puts sound runs of two checkpoints into the tree and returns their paths."""

    def put(*names: str) -> list[str]:
        for name in names:
            shutil.copytree(_seed, tree / name)
            age(tree / name)
        return [str(tree / name) for name in names]

    return put


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "fleet.parquet"))


@pytest.fixture
def over(store: Store, tree: Path) -> Pass:
    """``over(engine=..., ...)`` makes a pass over the tree; further words are those of Choice or Options."""

    def make(
        engine: object = local, workers: int = 1, seconds: float = 300.0, root: object = tree, **words: object
    ) -> Summary:
        asked = {name: words.pop(name) for name in list(words) if name in Options._fields and name != "depth"}
        registry = load()
        judging = order_of(Options(**asked), registry, seconds)  # type: ignore[arg-type]
        choice = Choice(**words)  # type: ignore[arg-type]
        return run_pass(store, [str(root)], judging, choice, registry, engine, workers, Progress())  # type: ignore[arg-type]

    return make


def rows_of(store: Store) -> list[Audited]:
    """All rows of a table."""
    return list(store.table.audited())


CUSTOM = """
import os, signal, time
import audit.fleet.one_run as module

real = module.audit_run

def audit_run(task, order, registry):
    mark = os.path.join({marks!r}, os.path.basename(task.run))
    word = open(mark).read() if os.path.exists(mark) else ""
    if word == "once":
        os.unlink(mark)
    if word in ("once", "always"):
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "sleep":
        time.sleep(600)
    if word == "memory":
        bytearray(1 << 40)
    if word == "noise":
        print("from a plugin")
    return real(task, order, registry)

module.audit_run = audit_run
"""


@pytest.fixture
def harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``harm("run-3", "always")``: what becomes of the process that audits the run, in every process started then.

    "once" and "always": it is killed; "sleep": it does not answer; "memory": it has none left; "noise": it prints.
    """
    place = tmp_path / "custom"
    marks = place / "marks"
    marks.mkdir(parents=True)
    (place / "sitecustomize.py").write_text(CUSTOM.format(marks=str(marks)))
    monkeypatch.setenv("PYTHONPATH", str(place))

    def mark(run: str, word: str) -> None:
        (marks / run).write_text(word)

    return mark
