"""A run: what is a checkpoint of it, which ones share a history, what was not looked at."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.errors import AuditError, NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.listing import locate
from audit.facts.run import Run, open_run
from audit.manager import load
from audit.storage import ContextReader, Entry, LocalStorage
from audit.testing.runs import edit_arguments, edit_state, make_run

STEPS = (100, 200, 300)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def opened(path: str, **options: Any) -> Run:
    return open_run(path, load().backends, **options)


def groups(run: Run) -> list[list[int]]:
    return [[checkpoint.step for checkpoint in lineage] for lineage in run.lineages]


def entries_after(step: int, change: Callable[[dict[str, Any]], Any]) -> Callable[[list[dict[str, Any]]], Any]:
    """A change of ``log_history`` that concerns the entries after ``step``."""

    def edit(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for entry in history:
            if entry["step"] > step:
                change(entry)
        return history

    return edit


def other_losses(entry: dict[str, Any]) -> None:
    entry["loss"] += 1


# -- which directories are checkpoints ------------------------------------------------------------------------------


def test_checkpoints_come_in_the_order_of_their_steps_as_numbers(tmp_path: Path) -> None:
    for name in ("checkpoint-100", "checkpoint-20", "checkpoint-3", "checkpoint-x", "other", "checkpoint-5-old"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    (tmp_path / "checkpoint-8").symlink_to("checkpoint-3")
    assert [checkpoint.step for checkpoint in opened(str(tmp_path)).checkpoints] == [3, 20, 100]


def test_two_names_of_one_step_are_two_checkpoints(path: str) -> None:
    shutil.copytree(f"{path}/checkpoint-100", f"{path}/checkpoint-0100")
    names = [checkpoint.name for checkpoint in opened(path).checkpoints]
    assert names == ["checkpoint-0100", "checkpoint-100", "checkpoint-200", "checkpoint-300"]


def test_entries_are_keyed_by_their_path_inside_the_checkpoint(path: str) -> None:
    Path(path, "checkpoint-300", "second").mkdir()
    Path(path, "checkpoint-300", "second", "adapter_config.json").write_text("{}")
    checkpoint = opened(path).checkpoints[-1]
    assert {"second", "second/adapter_config.json", "optimizer.pt"} <= set(checkpoint.entries)
    assert checkpoint.entries["second/adapter_config.json"].path == "checkpoint-300/second/adapter_config.json"


def test_only_the_named_checkpoint_is_judged_the_others_are_its_neighbours(path: str) -> None:
    run = opened(f"{path}/checkpoint-200")
    assert [checkpoint.name for checkpoint in run.judged] == ["checkpoint-200"]
    assert [checkpoint.step for checkpoint in run.checkpoints] == list(STEPS)
    assert run.judged[0].previous.name == "checkpoint-100"
    assert {name for name, _ in run.scans} == {"checkpoint-200"}


# -- locate and open ------------------------------------------------------------------------------------------------


def test_a_run_is_located_as_it_was_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(path) == (path, ())
    monkeypatch.chdir(path)
    assert locate(".") == (".", ())


@pytest.mark.parametrize(
    "spelling", ["{}/checkpoint-200", "{}/checkpoint-200/", "{}/runs/../checkpoint-200", "{}//checkpoint-200/."]
)
def test_a_checkpoint_is_located_in_its_run(path: str, spelling: str) -> None:
    Path(path, "runs").mkdir()
    assert locate(spelling.format(path)) == (path, ("checkpoint-200",))


def test_the_current_directory_may_be_a_checkpoint(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(f"{path}/checkpoint-200")
    assert locate(".") == (path, ("checkpoint-200",))


@pytest.mark.parametrize("name", ["checkpoint-best", "checkpoint-20-old", "my-checkpoint-20", "checkpoint-"])
def test_other_names_are_runs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert locate(str(tmp_path / name)) == (str(tmp_path / name), ())


def test_what_is_no_directory_cannot_be_located(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name, message in (("nowhere", "no such run"), ("file", "is not a directory"), ("dangling", "not a directory")):
        with pytest.raises(AuditError, match=message):
            locate(str(tmp_path / name))


def test_two_backends_that_claim_a_run_must_be_chosen_from(path: str) -> None:
    backend = load().backend("hf-trainer")
    with pytest.raises(AuditError, match=r"both hf-trainer and hf-trainer claim this run; name one with --backend"):
        open_run(path, [backend, backend])
    with pytest.raises(AuditError, match="no trainer backend is installed"):
        open_run(path, [])


def test_a_run_that_cannot_be_listed_is_an_error_of_the_audit(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LocalStorage, path: str) -> list[Entry]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalStorage, "list", refuse)
    with pytest.raises(AuditError, match="cannot be listed: Permission denied"):
        opened(path)
    with pytest.raises(AuditError, match="cannot be listed: Permission denied"):
        _ = Run(path, LocalStorage(path), load().backend("hf-trainer")).entries


# -- lineages -------------------------------------------------------------------------------------------------------


def test_one_history_is_one_lineage(path: str) -> None:
    run = opened(path)
    assert groups(run) == [[100, 200, 300]]
    first, second, third = run.checkpoints
    assert (third.previous, second.previous) == (second, first)
    with pytest.raises(NotApplicable, match="no earlier checkpoint"):
        _ = first.previous


def test_only_the_new_part_of_a_history_is_the_checkpoint_s_own(path: str) -> None:
    run = opened(path)
    lengths = [(len(checkpoint.history), len(checkpoint.history.own)) for checkpoint in run.checkpoints]
    assert lengths == [(10, 10), (20, 10), (30, 10)]


def test_a_fork_is_two_lineages_and_the_later_one_keeps_the_common_past(path: str) -> None:
    edit_state(f"{path}/checkpoint-300", log_history=entries_after(100, other_losses))
    run = opened(path)
    assert groups(run) == [[200], [100, 300]]
    assert run.checkpoints[2].previous.step == 100


def test_strangers_are_two_lineages(path: str) -> None:
    edit_state(f"{path}/checkpoint-300", log_history=entries_after(0, other_losses))
    assert groups(opened(path)) == [[100, 200], [300]]


def test_a_checkpoint_edited_in_the_middle_stands_alone(path: str) -> None:
    edit_state(f"{path}/checkpoint-200", log_history=entries_after(0, other_losses))
    assert groups(opened(path)) == [[200], [100, 300]]


def test_a_long_fork_is_two_lineages_with_all_their_members(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", (100, 200, 300, 400, 500))
    for step in (400, 500):
        edit_state(f"{path}/checkpoint-{step}", log_history=entries_after(200, other_losses))
    assert groups(opened(path)) == [[300], [100, 200, 400, 500]]


def test_a_history_written_in_another_way_is_still_the_same(path: str) -> None:
    state = Path(path, "checkpoint-200", "trainer_state.json")
    state.write_text(json.dumps(json.loads(state.read_text())))
    assert groups(opened(path)) == [[100, 200, 300]]


def test_a_checkpoint_without_a_readable_history_is_in_no_lineage(path: str) -> None:
    Path(path, "checkpoint-200", "trainer_state.json").write_text("{")
    run = opened(path)
    assert groups(run) == [[100, 300]]
    assert run.checkpoints[2].previous.step == 100


def test_a_torn_checkpoint_is_in_no_lineage(path: str) -> None:
    Path(path, "checkpoint-300", "trainer_state.json").unlink()
    run = opened(path)
    assert groups(run) == [[100, 200]]
    with pytest.raises(NotApplicable, match="no trainer state"):
        run.state_of(run.checkpoints[2].name)


# -- facts of the whole run -----------------------------------------------------------------------------------------


def test_the_newest_complete_checkpoint_speaks_for_the_run(path: str) -> None:
    edit_arguments(f"{path}/checkpoint-200", save_total_limit=7)
    Path(path, "checkpoint-300", "trainer_state.json").unlink()
    run = opened(path)
    assert (run.newest.name, run.save_total_limit) == ("checkpoint-200", 7)


@pytest.mark.parametrize("limit", [None, 0, -1, "three"])
def test_a_limit_that_is_none_is_not_there(path: str, limit: Any) -> None:
    edit_arguments(f"{path}/checkpoint-300", save_total_limit=limit)
    with pytest.raises(NotApplicable, match="save_total_limit is not set"):
        _ = opened(path).save_total_limit


def test_without_a_complete_checkpoint_nobody_speaks(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    run = opened(str(tmp_path))
    with pytest.raises(NotApplicable, match="no complete checkpoint"):
        _ = run.newest
    assert (run.lineages, run.optional("arguments"), run.scans) == ((), None, {})


def test_every_byte_is_scanned_once(path: str) -> None:
    counted: list[tuple[int, int]] = []
    run = opened(path, progress=lambda count, total: counted.append((count, total)))
    size = sum(checkpoint.bytes for checkpoint in run.checkpoints)
    assert sum(scan.bytes_read for scan in run.scans.values()) == size
    assert sum(count for count, _ in counted) == size
    assert {total for _, total in counted} == {size}


def test_a_state_is_read_once_for_the_whole_run(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = LocalStorage.open

    def counting(self: LocalStorage, name: str) -> ContextReader:
        calls.append(name)
        return real(self, name)

    monkeypatch.setattr(LocalStorage, "open", counting)
    run = opened(path)
    for checkpoint in run.checkpoints:
        assert isinstance(checkpoint, Checkpoint)
        assert checkpoint.state.global_step == checkpoint.step
        assert checkpoint.history is run.checkpoints[STEPS.index(checkpoint.step)].history
    assert sorted(calls) == [os.path.join(f"checkpoint-{step}", "trainer_state.json") for step in STEPS]
