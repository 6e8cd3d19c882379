"""Every layout is found by the backend that verify would take, and nothing that is none; links lead nowhere."""

import os
import shutil
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.facts.run import open_run
from audit.fleet.discovery import DEEPEST, Found, find_runs, outermost
from audit.manager import load
from audit.testing.runs import make_run
from tests.accelerate import make_accelerate
from tests.audit.facts.test_other_trainers import LAYOUTS
from tests.audit.facts.test_traces import put
from tests.audit.fleet.conftest import Grow
from tests.lightning import make_lightning

ROOT = os.geteuid() == 0


def found(root: Path) -> list[Found]:
    return list(find_runs([str(root)], load().backends))


def names(root: Path, status: str = "") -> list[str]:
    return [os.path.relpath(item.path, root) for item in found(root) if item.status == status]


def test_runs_of_several_trainers_are_found_as_verify_opens_them(tree: Path) -> None:
    make_run(tree / "a/trainer", (1,), layers=1)
    make_accelerate(tree / "b/accelerate")
    make_lightning(tree / "lightning_logs/version_0/checkpoints")
    (tree / "c/global_step5").mkdir(parents=True)
    (tree / "c/global_step5/mp_rank_00_model_states.pt").write_bytes(b"x")
    (tree / "c/latest").write_text("global_step5")
    (tree / "d/step-7").mkdir(parents=True)
    (tree / "d/step-7/__0_0.distcp").write_bytes(b"x")

    backends = {item: open_run(str(tree / item), load().backends).backend.name for item in names(tree)}

    assert backends == {
        "a/trainer": "hf-trainer",
        "b/accelerate": "accelerate",
        "c": "deepspeed",
        "d": "torch-dcp",
        "lightning_logs/version_0/checkpoints": "lightning",
    }


def test_a_directory_that_is_only_called_like_a_checkpoint_is_looked_into(tree: Path, grow: Grow) -> None:
    grow("sweep/step_1/run", "sweep/epoch_2/run")

    assert names(tree) == ["sweep/epoch_2/run", "sweep/step_1/run"]


def test_a_run_inside_a_run_is_one_of_its_own(tree: Path, grow: Grow) -> None:
    grow("search", "search/trial-0", "search/trial-1")

    assert names(tree) == ["search", "search/trial-0", "search/trial-1"]


def test_what_the_audit_keeps_is_no_run_and_a_run_without_checkpoints_that_has_a_ledger_is_one(
    tree: Path, grow: Grow
) -> None:
    grow("a", "b/.audit/pinned/x")
    (tree / "gone/.audit").mkdir(parents=True)
    (tree / "gone/.audit/ledger.db").write_bytes(b"")
    (tree / "fresh").mkdir()

    assert names(tree) == ["a", "gone"]


def test_runs_come_in_the_order_of_their_rows(tree: Path, grow: Grow) -> None:
    from audit.fleet.rows import order

    grow("a-b/r", "a/r", "a.b/r", "a/r/inner")

    paths = [item.path for item in found(tree)]
    assert len(paths) == 4
    assert paths == sorted(paths, key=order)


def test_links_are_not_followed(tree: Path, grow: Grow, tmp_path: Path) -> None:
    grow("a/run")
    shutil.copytree(tree / "a/run", tmp_path / "outside/run")
    os.symlink(tmp_path / "outside", tree / "out")
    os.symlink(tmp_path / "outside/run", tree / "a/link")
    os.symlink(tree, tree / "a/loop")
    (tree / "b").mkdir()
    os.symlink(tree / "a/run/checkpoint-1", tree / "b/checkpoint-1")

    assert names(tree) == ["a/run"]


def test_what_holds_a_checkpoint_that_nobody_reads_is_named(tree: Path, grow: Grow) -> None:
    grow("run")
    (tree / "megatron").mkdir()
    (tree / "megatron/latest_checkpointed_iteration.txt").write_text("5")
    shutil.copytree(tree / "run/checkpoint-2", tree / "best")
    (tree / "logs").mkdir()
    (tree / "logs/latest").write_text("no checkpoint")
    (tree / "exported").mkdir()
    shutil.copy(tree / "run/checkpoint-2/trainer_state.json", tree / "exported")

    unread = {os.path.relpath(item.path, tree): item.error for item in found(tree) if item.status == "unread"}

    assert list(unread) == ["best", "megatron"]
    assert "Megatron" in unread["megatron"]
    assert unread["best"] == f"a Trainer checkpoint of step 2; rename {tree}/best to checkpoint-2"


@pytest.mark.parametrize("trainer", ["Megatron", "Megatron, no tracker", "verl", "verl, supervised", "NeMo"])
def test_every_trainer_that_is_named_elsewhere_is_named_once(tree: Path, grow: Grow, trainer: str) -> None:
    put(tree / "other", *LAYOUTS[trainer][0])
    grow("other/tensorboard/mine")

    unread = [item.error for item in found(tree) if item.status == "unread"]

    assert len(unread) == 1
    assert LAYOUTS[trainer][2].partition(" (")[0] in unread[0]
    assert "no backend reads it: resume with" in unread[0]
    assert names(tree) == ["other/tensorboard/mine"]


def test_a_model_that_may_have_been_downloaded_is_no_checkpoint(tree: Path, grow: Grow) -> None:
    grow("models/run")
    (tree / "models/base.nemo").write_text("a model")

    assert [item.status for item in found(tree)] == [""]


@pytest.mark.skipif(ROOT, reason="root reads every directory")
def test_a_directory_that_cannot_be_listed_is_named(tree: Path, grow: Grow) -> None:
    grow("a", "b")
    (tree / "a").chmod(0)
    try:
        assert (names(tree), names(tree, "failed")) == (["b"], ["a"])
    finally:
        (tree / "a").chmod(0o700)


def test_a_directory_that_the_system_does_not_list_is_named(
    tree: Path, grow: Grow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.storage import Entry, LocalStorage

    grow("a", "b", "c")
    real = LocalStorage.list

    def refused(self: LocalStorage, path: str) -> list[Entry]:
        if path == "a":
            raise PermissionError(13, "Permission denied")
        if path == "b":  # deleted meanwhile
            raise FileNotFoundError(2, "No such file or directory")
        return real(self, path)

    monkeypatch.setattr(LocalStorage, "list", refused)

    assert (names(tree), names(tree, "failed")) == (["c"], ["a"])


def test_a_tree_without_a_bottom_has_one_here(tree: Path) -> None:
    deep = tree.joinpath(*["d"] * (DEEPEST + 3))
    deep.mkdir(parents=True)

    (item,) = found(tree)
    assert item.status == "failed"
    assert f"{DEEPEST} levels" in item.error


def test_the_digest_changes_with_every_entry_that_a_judgement_rests_on_and_with_no_other(
    tree: Path, grow: Grow
) -> None:
    (run,) = map(Path, grow("run"))

    def digest() -> str:
        (item,) = (item for item in found(tree) if item.path == str(run))
        return item.digest

    seen = [digest()]
    assert digest() == seen[0]
    (run / "logs").mkdir()
    (run / "logs/events").write_text("x")
    seen.append(digest())  # a directory more
    (run / "logs/events").write_text("xy")
    assert digest() == seen[-1]
    (run / "checkpoint-2/optimizer.pt").write_bytes(b"other")
    seen.append(digest())
    (run / "checkpoint-2/more").mkdir()
    seen.append(digest())
    (run / ".audit").mkdir()
    (run / ".audit/ledger.db").write_bytes(b"x")
    seen.append(digest())
    (run / ".audit/progress.json").write_text("{}")
    assert digest() == seen[-1]
    shutil.rmtree(run / "checkpoint-1")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


def test_a_change_that_keeps_size_and_time_is_one(tree: Path, grow: Grow) -> None:
    (run,) = map(Path, grow("run"))
    file = run / "checkpoint-2/optimizer.pt"
    before, kept = found(tree)[0].digest, file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))

    assert found(tree)[0].digest != before


def test_roots_inside_others_are_walked_once(tree: Path, grow: Grow) -> None:
    grow("a/run", "ab/run")
    roots = [str(tree / "ab"), str(tree / "a/run"), str(tree / "a"), str(tree / "a")]

    assert outermost(roots) == [str(tree / "a"), str(tree / "ab")]
    assert [item.owner for item in find_runs(roots, load().backends)] == ["run", "run"]


def test_a_root_that_is_none_is_refused(tree: Path) -> None:
    (tree / "file").write_text("")
    for name, why in (("nowhere", "no such directory"), ("file", "is not a directory")):
        with pytest.raises(AuditError, match=why):
            outermost([str(tree / name)])
