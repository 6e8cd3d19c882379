"""A run that is watched: judged again only when something changed, and never while a save is torn."""

import os
import shutil
from pathlib import Path

import pytest

from audit.manager import Registry, load
from audit.options import Options
from audit.testing.runs import make_run
from audit.views import live
from audit.views.live import Watched, changes, stamp_of


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "finished"))


def watched(path: Path, registry: Registry) -> Watched:
    made = Watched(str(path), Options(), registry)
    made.refresh()
    return made


def states(found: Watched) -> dict[str, str]:
    return {row.name: row.state for row in found.view.rows}


def test_a_run_that_does_not_exist_yet_is_seen_once_it_does(tmp_path: Path, finished: Path, registry: Registry) -> None:
    found = watched(tmp_path / "run", registry)
    assert found.view.problem == f"there is no directory {tmp_path / 'run'} yet"
    assert not found.refresh()
    assert found.free

    (tmp_path / "run").mkdir()
    assert found.refresh()
    assert "no checkpoint-N directory" in (found.view.problem or "")
    shutil.copytree(finished / "checkpoint-100", tmp_path / "run" / "checkpoint-100")
    assert found.refresh()
    assert states(found) == {"checkpoint-100": "resumable"}
    assert [event.text for event in found.events] == ["checkpoint-100: resumable by structure"]


def test_nothing_is_judged_while_nothing_changes(
    finished: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(finished, registry)
    monkeypatch.setattr(live, "inspect", lambda *_, **__: pytest.fail("judged again"))

    assert [found.refresh() for _ in range(3)] == [False] * 3


def test_a_torn_save_is_in_progress_and_then_what_it_is(tmp_path: Path, finished: Path, registry: Registry) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    parts = sorted(os.listdir(run / "checkpoint-300"), key=lambda name: name == "trainer_state.json")
    shutil.rmtree(run / "checkpoint-300")
    found = watched(run, registry)
    (run / "checkpoint-300").mkdir()
    seen = []
    for name in parts:
        shutil.copyfile(finished / "checkpoint-300" / name, run / "checkpoint-300" / name)
        found._again = 0.0
        found.refresh()
        seen.append(states(found)["checkpoint-300"])

    assert seen == ["in progress"] * (len(parts) - 1) + ["resumable"]
    assert [event.text for event in found.events] == [
        "checkpoint-300: in progress",
        "checkpoint-300: in progress -> resumable by structure",
    ]


def test_a_save_that_is_broken_and_a_rotation_are_events(finished: Path, registry: Registry) -> None:
    found = watched(finished, registry)
    (finished / "checkpoint-300" / "optimizer.pt").unlink()
    shutil.rmtree(finished / "checkpoint-100")
    assert found.refresh()

    assert [event.text for event in found.events] == [
        "checkpoint-100: deleted",
        "checkpoint-300: resumable by structure -> broken (files/missing-optimizer)",
    ]


def test_while_a_checkpoint_is_written_looks_are_as_rare_as_they_are_expensive(
    finished: Path, registry: Registry
) -> None:
    (finished / "checkpoint-300" / "trainer_state.json").unlink()
    found = watched(finished, registry)
    assert states(found)["checkpoint-300"] == "in progress"

    assert not found.refresh()
    found._again = 0.0
    assert found.refresh()


def test_the_stamp_tells_a_new_seal_and_no_run(finished: Path, tmp_path: Path) -> None:
    before = stamp_of(str(finished))
    (finished / ".audit").mkdir()
    (finished / ".audit" / "ledger.db").write_bytes(b"x")

    assert before != stamp_of(str(finished))
    assert stamp_of(str(tmp_path / "nowhere")) is None


def test_nothing_new_is_no_change(finished: Path, registry: Registry) -> None:
    rows = watched(finished, registry).view.rows

    assert changes(rows, rows) == []
