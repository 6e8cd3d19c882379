"""A pull takes what the branch holds now, so that is what counts: whoever can write there may change or remove it."""

from pathlib import Path

import pytest

from tests.plugins.audit_hub.conftest import Desk, contents
from tests.plugins.audit_hub.server import blob_of

FOLDERS = ("--repo", "me/all", "--folder", "checkpoint-{step}")
BRANCHES = ("--repo", "me/all", "--branch", "step-{step}")


def edit(desk: Desk, branch: str, path: str, content: bytes | None) -> None:
    """Somebody commits another file, or removes all whose path begins so."""
    repo = desk.hub.repos["me/all"]
    tree = repo.commits[repo.branches[branch]].tree
    kept = {name: blob for name, blob in tree.items() if content is not None or not name.startswith(path)}
    repo.add(branch, "by hand", kept | ({path: blob_of(content)} if content is not None else {}))


def same_size(desk: Desk) -> bytes:
    data = Path(desk.run, "checkpoint-300", "trainer_state.json").read_bytes()
    return data.replace(b"300", b"301", 1)


@pytest.mark.parametrize("layout", [FOLDERS, pytest.param(BRANCHES, marks=pytest.mark.slow)])
def test_nothing_is_removed_while_the_newest_is_not_on_its_branch(desk: Desk, layout: tuple[str, ...]) -> None:
    for step in ("200", "300"):
        assert desk("push", "run", "--checkpoint", step, *layout).code == 0
    repo = desk.hub.repos["me/all"]
    if layout is FOLDERS:
        edit(desk, "main", "checkpoint-300/", None)
    else:
        del repo.branches["step-300"]
    before = dict(repo.branches)

    refused = desk("prune", "run", "--keep", "1")

    assert (refused.code, "nothing is removed" in refused.err, refused.out) == (1, True, "")
    assert f"still is in me/all@{desk.pushes()[1]['commit']}" in refused.err
    assert repo.branches == before
    assert desk("verify", "me/all", "--run", "run").code == 1
    assert [item["state"] for item in desk.pushes()] == ["pushed", "wrong"]
    assert desk("push", "run", "--checkpoint", "300", *layout).code == 0
    assert desk("verify", "me/all", "--run", "run").out.count("recorded  checkpoint-") == 2
    assert desk("prune", "run", "--keep", "1").code == 0
    assert desk("pull", "me/all" if layout is FOLDERS else "me/all@step-300", "fresh").code == 0
    assert contents(desk.home / "fresh" / "checkpoint-300") == contents(f"{desk.run}/checkpoint-300")


@pytest.mark.parametrize(
    "change", ["the same size", *(pytest.param(name, marks=pytest.mark.slow) for name in ("another size", "removed"))]
)
def test_what_was_changed_on_the_branch_is_neither_verified_nor_deleted_here(desk: Desk, change: str) -> None:
    assert desk("push", "run", "--depth", "full", *FOLDERS).code == 0
    (before,) = desk.pushes()
    path = "checkpoint-300/trainer_state.json"
    edit(desk, "main", path, {"another size": b"{}", "the same size": same_size(desk), "removed": None}[change])

    deleting = desk("push", "run", "--delete-local", *FOLDERS)

    assert (deleting.code, "deleted" in deleting.out) == (1, False)
    assert "trainer_state.json" in deleting.out
    assert f"as it was pushed it still is in me/all@{before['commit']}" in deleting.out
    assert Path(desk.run, "checkpoint-300").is_dir()
    verified = desk("verify", "me/all", "--run", "run")
    assert (verified.code, verified.out.split()[0]) == (1, "wrong")
    assert desk("verify", "me/all").code == 1
    old = desk("verify", f"me/all@{before['commit']}", "--run", "run")
    assert (old.code, desk.pushes()[0]["state"]) == (0, "wrong")
    assert desk("pull", f"me/all@{before['commit']}", "fresh").code == 0
    again = desk("push", "run", "--delete-local", *FOLDERS)
    assert (again.code, "deleted" in again.out) == (0, True)
    assert desk("pull", "me/all", "run").code == 0


@pytest.mark.slow
def test_what_is_on_its_branch_is_found_by_its_name_alone(desk: Desk) -> None:
    for step in ("200", "300"):
        desk("push", "run", "--checkpoint", step, *BRANCHES)
    del desk.hub.repos["me/all"].branches["step-300"]

    assert desk("verify", "me/all@step-200", "--run", "run").code == 0
    gone = desk("verify", "me/all@step-300", "--run", "run")

    assert (gone.code, "there is no branch step-300; as it was pushed it still is in" in gone.out) == (1, True)
    assert "has pushed no such checkpoint to me/all@v2" in desk("verify", "me/all@v2", "--run", "run").err
    kept = desk("push", "run", "--checkpoint", "200", "--delete-local", *BRANCHES)
    assert (kept.code, Path(desk.run, "checkpoint-200").exists()) == (0, False)


@pytest.mark.slow
def test_a_squashed_history_is_no_difference(desk: Desk) -> None:
    desk("push", "run", *FOLDERS)
    repo = desk.hub.repos["me/all"]
    tree = dict(repo.head)
    repo.commits.clear()
    repo.add("main", "squashed", tree)

    assert desk("verify", "me/all", "--run", "run").code == 0
    edit(desk, "main", "checkpoint-300/trainer_state.json", b"{}")
    repo.commits = {repo.branches["main"]: repo.commits[repo.branches["main"]]}
    wrong = desk("verify", "me/all", "--run", "run")
    assert (wrong.code, "it still is" in wrong.out) == (1, False)


def test_a_push_that_is_known_says_that_the_hub_was_not_asked(desk: Desk) -> None:
    desk("push", "run", *FOLDERS)
    desk.hub.requests.clear()

    known = desk("push", "run", *FOLDERS)

    assert (known.code, desk.hub.requests) == (0, [])
    assert "the Hub was not asked again: audit hub verify me/all --run run" in known.out
    assert "as the Hub has recorded" not in known.out


def test_what_was_deleted_here_is_not_missed_and_the_guard_says_where_it_is(desk: Desk) -> None:
    assert desk("push", "run", "--delete-local", *FOLDERS).code == 0

    assert desk.audit("verify", "run").code == 0
    strict = desk.audit("guard", "run", "--strict")
    assert (strict.code, "step 300 was reached before" in strict.err) == (1, True)
    guarded = desk.audit("guard", "run")
    assert guarded.out == "run/checkpoint-200\n"
    assert "rolls back 100 steps, 300 -> 200" in guarded.err
    how = "checkpoint-300, which is newer, was deleted here once it was proven in me/all; to bring it back: "
    assert f"{how}audit hub pull me/all run --checkpoint 300\n" in guarded.err
    assert how in desk.audit("guard", "run").err
    assert desk("pull", "me/all", "run", "--checkpoint", "300").code == 0
    assert desk.audit("guard", "run").said == "run/checkpoint-300\n"
    deleted = desk("push", "run", "--delete-local", *FOLDERS)
    assert "every byte was read back before, and its branch has the same files now" in deleted.out


@pytest.mark.slow
def test_a_run_whose_checkpoints_are_all_on_the_hub_names_where(desk: Desk) -> None:
    for step in ("300", "200", "100"):
        assert desk("push", "run", "--checkpoint", step, "--delete-local", *BRANCHES).code == 0

    verified, guarded = desk.audit("verify", "run"), desk.audit("guard", "run")

    how = "checkpoint-300 was deleted here once it was proven in me/all@step-300; to bring it back: audit hub pull"
    assert (verified.code, f"run: holds no checkpoint; {how}" in verified.err) == (2, True)
    assert (guarded.code, how in guarded.err) == (1, True)
