"""Every file is opened once and every pickle interpreted once, whoever asks first."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.facts.checkpoint import Checkpoint
from audit.formats import torch_archive
from audit.formats.pickles import load_pickle
from audit.options import Options
from audit.storage import LocalStorage
from audit.testing.runs import make_run

Count = Callable[..., tuple[Counter[str], int]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Count:
    """``counted(run, options)``: how often each file was opened, and how many pickles were interpreted."""
    opened: Counter[str] = Counter()
    pickles: list[int] = []
    real = LocalStorage.open

    def opening(storage: LocalStorage, path: str) -> Any:
        opened[path] += 1
        return real(storage, path)

    def loading(data: bytes, *arguments: Any, **options: Any) -> Any:
        pickles.append(len(data))
        return load_pickle(data, *arguments, **options)

    monkeypatch.setattr(LocalStorage, "open", opening)
    monkeypatch.setattr(torch_archive, "load_pickle", loading)

    def count(run: Path, options: Options) -> tuple[Counter[str], int]:
        opened.clear()
        pickles.clear()
        assert verify(str(run), options).verdict == "sound"
        return Counter(opened), len(pickles)

    return count


@pytest.mark.parametrize("kind", [{}, {"full": True}, {"fp16": True, "world": 2}])
def test_every_file_is_opened_once_and_once_more_by_the_scan(tmp_path: Path, counted: Count, kind: Any) -> None:
    run = Path(make_run(tmp_path / "run", range(100, 701, 100), **kind))
    files = {path.relative_to(run).as_posix() for path in run.glob("checkpoint-*/*")}
    archives = sum(name.endswith((".pt", ".pth", ".bin")) for name in files)

    for ledger in (False, True):
        for options, most in ((Options(depth="quick"), 1), (Options(), 2)):
            opened, pickles = counted(run, options._replace(ledger=ledger, settle_seconds=0))
            assert {name: count for name, count in opened.items() if count > most} == {}
            assert opened.keys() <= files
            assert pickles == archives
    first = "checkpoint-100/trainer_state.json"  # the later ones continue its log, and what they add is remembered
    assert counted(run, Options()) == (Counter({first: 1}), 0)  # sealed and judged before


def test_the_states_of_few_checkpoints_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", range(100, 2001, 100))
    held: list[int] = []
    forget = Checkpoint.forget

    def counting(checkpoint: Checkpoint) -> None:
        facts = [item.__dict__.get("_facts", {}) for item in checkpoint.run.checkpoints]
        held.append(sum("optimizer" in item for item in facts))
        forget(checkpoint)

    monkeypatch.setattr(Checkpoint, "forget", counting)
    assert verify(run).verdict == "sound"
    assert len(held) == 19
    assert max(held) == 2
