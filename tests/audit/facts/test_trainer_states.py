"""A state that is remembered is not read, and makes no difference."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import Options, verify
from audit.facts.run import Run
from audit.facts.trainer_states import MOST_REMEMBERED, KnownState
from audit.judging.auditor import Auditor
from audit.ledger.records import read_records
from audit.manager import load
from audit.storage import LocalStorage
from audit.testing.runs import edit_state, make_run

SETTLED = Options(settle_seconds=0)
Judge = Callable[[Path], tuple[Run, list[str]]]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Return ``judged(run) -> (run, names)``: the checkpoints whose trainer state was opened to judge it again."""
    opened: list[str] = []
    real = LocalStorage.open

    def opening(storage: LocalStorage, path: str) -> Any:
        opened.append(path)
        return real(storage, path)

    def judge(run: Path) -> tuple[Run, list[str]]:
        records = read_records(str(run), write=False)[0]
        monkeypatch.setattr(LocalStorage, "open", opening)
        opened.clear()
        found = Auditor(SETTLED, load()).judge(str(run), records).run
        read = list(dict.fromkeys(path.partition("/")[0] for path in opened if path.endswith("trainer_state.json")))
        monkeypatch.setattr(LocalStorage, "open", real)
        return found, read

    return judge


def sealed(path: Path, steps: range = range(100, 701, 100), **kind: Any) -> Path:
    run = Path(make_run(path, steps, max_steps=2000, **kind))
    for _ in range(2):
        assert verify(str(run), SETTLED).verdict == "sound"
    return run


def states(run: Run) -> dict[str, Any]:
    """What is known of each checkpoint's state: the document, the whole log, what it continues, its bytes."""
    found = {}
    for item in run.checkpoints:
        history, document = item.history, item.state_document
        base = next((other.name for other in run.checkpoints if other.history is history.base), None)
        found[item.name] = [document.document, document.state, list(history), base, history.raw, document.weight]
    return found


def anew(path: Path) -> Run:
    return Auditor(SETTLED._replace(cache=False), load()).judge(str(path)).run


def test_only_the_first_log_is_read_and_all_states_are_as_if_read(tmp_path: Path, judged: Judge) -> None:
    path = sealed(tmp_path / "run")

    run, read = judged(path)

    assert read == ["checkpoint-100"]
    assert states(run) == states(anew(path))
    assert [len(group) for group in run.lineages] == [7]


def test_after_a_save_the_first_and_the_new_one_are_read(tmp_path: Path, judged: Judge) -> None:
    whole = Path(make_run(tmp_path / "whole", range(100, 801, 100), max_steps=2000))
    later = Path(shutil.move(whole / "checkpoint-800", tmp_path / "later"))
    assert verify(str(whole), SETTLED).verdict == "sound"
    shutil.move(later, whole / "checkpoint-800")

    run, read = judged(whole)

    assert read == ["checkpoint-100", "checkpoint-800"]
    assert states(run) == states(anew(whole))


def test_what_follows_a_checkpoint_that_is_gone_is_read(tmp_path: Path, judged: Judge) -> None:
    path = sealed(tmp_path / "run")
    shutil.rmtree(path / "checkpoint-300")

    run, read = judged(path)

    assert read == ["checkpoint-100", "checkpoint-400"]
    assert states(run) == states(anew(path))


def test_a_checkpoint_that_comes_in_between_is_continued(tmp_path: Path, judged: Judge) -> None:
    """What was remembered to continue checkpoint-200 continues the one that was put between the two."""
    path = Path(make_run(tmp_path / "run", range(100, 701, 100), max_steps=2000))
    aside = Path(shutil.move(path / "checkpoint-300", tmp_path / "aside"))
    for _ in range(2):
        verify(str(path), SETTLED)
    shutil.move(aside, path / "checkpoint-300")

    run, read = judged(path)

    assert read == ["checkpoint-100", "checkpoint-300", "checkpoint-400"]
    assert states(run) == states(anew(path))
    assert [len(group) for group in run.lineages] == [7]


def test_a_log_that_was_edited_is_read_and_so_is_what_continued_it(tmp_path: Path, judged: Judge) -> None:
    path = sealed(tmp_path / "run")
    edit_state(path / "checkpoint-300", log_history=lambda log: [*log[:-1], {**log[-1], "loss": 9.0}])

    run, read = judged(path)

    assert read == ["checkpoint-100", "checkpoint-300", "checkpoint-400"]
    assert states(run) == states(anew(path))


def test_a_state_with_much_of_its_own_is_read_again(tmp_path: Path, judged: Judge) -> None:
    path = sealed(tmp_path / "run", range(100, 301, 100))
    long = [{"step": 200, "epoch": 1.0, "loss": 1.0, "note": "x" * MOST_REMEMBERED}]
    edit_state(path / "checkpoint-200", log_history=lambda log: log + long)
    edit_state(path / "checkpoint-300", log_history=lambda log: log[:20] + long + log[20:])
    verify(str(path), SETTLED._replace(cache=False))
    verify(str(path), SETTLED)

    run, read = judged(path)

    assert "checkpoint-200" in read
    assert states(run) == states(anew(path))


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        (0, [], TypeError),
        (1, 7, TypeError),
        (3, "7", TypeError),
        (4, [1], TypeError),
        (5, [1, "00", "00"], ValueError),
        (5, [1, "00" * 32, ""], ValueError),
        (5, ["1", "00" * 32, "00"], ValueError),
        (5, [1, "zz", "00"], ValueError),
        (5, [1, "00" * 32], ValueError),
        (6, None, TypeError),
    ],
)
def test_text_of_another_shape_is_no_state(place: int, value: Any, error: type[Exception]) -> None:
    values = [{}, "checkpoint-100", "0" * 64, 3, [{"step": 1}], [10, "00" * 32, "7b"], 50]
    assert KnownState.of(values).own == [{"step": 1}]
    values[place] = value
    with pytest.raises(error):
        KnownState.of(values)
