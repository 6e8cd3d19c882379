"""What is pulled is what was pushed and can be resumed from, or nothing has its name."""

import json
import shutil
from pathlib import Path

import pytest

from audit.ledger.back_events import GoingBack, WentBack
from audit.ledger.store import open_ledger
from audit.retention.lock import RunLock
from audit.testing.runs import make_run
from tests.accelerate import make_accelerate
from tests.lightning import make_directories
from tests.plugins.audit_hub.conftest import Desk, contents
from tests.plugins.audit_hub.server import Fault, blob_of

pytestmark = pytest.mark.slow


def change_seal(desk: Desk, **changes: object) -> None:
    """Write another seal into the repository."""
    repo = desk.hub.repos[desk.repo]
    document = {**json.loads(repo.head["audit-seal.json"].content), **changes}
    repo.add("main", "forged", {**repo.head, "audit-seal.json": blob_of(json.dumps(document).encode())})


def nothing_is_there(desk: Desk) -> bool:
    return not (desk.home / "fresh").exists()


def test_a_download_that_is_cut_goes_on(desk: Desk) -> None:
    desk("push", "run")
    desk.hub.break_with(Fault("GET", "resolve/.*optimizer", "cut", 2), Fault("GET", "resolve/.*adapter", 503))

    assert desk("pull", desk.repo, "fresh").code == 0

    assert contents(desk.home / "fresh" / "checkpoint-300") == contents(f"{desk.run}/checkpoint-300")
    assert [path.name for path in (desk.home / "fresh").iterdir()] != []
    assert not (desk.home / "fresh" / ".audit" / "scratch" / "hub-pull").exists()


@pytest.mark.parametrize(("trainer", "named"), [("accelerate", "300"), ("lightning", "epoch=2-step=30.ckpt")])
def test_checkpoints_of_other_trainers_come_back_under_their_names(desk: Desk, trainer: str, named: str) -> None:
    """They are pushed, too, and what was pushed and perhaps deleted here must be readable."""
    other = desk.home / "other"
    make_accelerate(other) if trainer == "accelerate" else make_directories(other)

    assert desk("push", "other", "--checkpoint", named).code == 0
    assert desk("verify", desk.repo, "--depth", "full").code == 0
    pulled = desk("pull", desk.repo, "fresh", "--checkpoint", named)

    assert (pulled.code, pulled.err) == (0, "")
    (name,) = [path.name for path in (desk.home / "fresh").iterdir() if path.name != ".audit"]
    assert contents(desk.home / "fresh" / name) == contents(other / name)


def test_a_silent_server_is_not_waited_for(desk: Desk) -> None:
    desk("push", "run")
    desk.hub.break_with(Fault("GET", "resolve/.*optimizer", "silent"))

    ended = desk("pull", desk.repo, "fresh", "--deadline", "8")

    assert (ended.code, "not done within 8 s" in ended.err) == (2, True)
    assert nothing_is_there(desk)


def test_a_seal_that_leads_out_of_the_run_is_refused(desk: Desk) -> None:
    desk("push", "run")
    seal = json.loads(desk.hub.repos[desk.repo].head["audit-seal.json"].content)
    one = next(iter(seal["files"].values()))

    for files in ({**seal["files"], "../../escaped": one}, {**seal["files"], "/tmp/escaped": one}):
        change_seal(desk, files=files)
        ended = desk("pull", desk.repo, "fresh")
        assert (ended.code, "outside of the checkpoint" in ended.err) == (2, True)
        assert nothing_is_there(desk)
    change_seal(desk, files=seal["files"], checkpoint="../checkpoint-300")
    assert "names no checkpoint" in desk("pull", desk.repo, "fresh").err


def test_an_upload_that_never_came_to_its_end_is_not_pulled(desk: Desk) -> None:
    desk.hub.break_with(Fault("POST", "commit", 403, skip=1))
    assert desk("push", "run").code == 1

    for words in (("pull", desk.repo, "fresh"), ("verify", desk.repo)):
        ended = desk(*words)
        assert (ended.code, "pushed to its end" in ended.err) == (2, True)
    assert nothing_is_there(desk)


def test_what_cannot_be_resumed_from_is_not_pulled(desk: Desk) -> None:
    desk("push", "run")
    seal = json.loads(desk.hub.repos[desk.repo].head["audit-seal.json"].content)
    change_seal(desk, files={path: file for path, file in seal["files"].items() if path != "optimizer.pt"})

    ended = desk("pull", desk.repo, "fresh")

    assert (ended.code, "cannot be resumed from" in ended.err) == (1, True)
    assert nothing_is_there(desk)
    assert "optimizer.pt is one file too many" in desk("verify", desk.repo).out


def test_nothing_is_overwritten_and_a_run_in_training_is_refused(desk: Desk) -> None:
    desk("push", "run")
    before = contents(desk.run)

    there = desk("pull", desk.repo, "run")
    other = make_run(desk.home / "other", (100,))
    with RunLock(other, "trained"):
        trained = desk("pull", desk.repo, "other")

    assert (there.code, "is there already" in there.err) == (1, True)
    assert (trained.code, "is being trained" in trained.err) == (1, True)
    assert {name: data for name, data in contents(desk.run).items() if ".audit" not in name} == {
        name: data for name, data in before.items() if ".audit" not in name
    }
    assert not Path(other, "checkpoint-300").exists()


def test_what_the_run_has_given_up_is_not_put_back(desk: Desk) -> None:
    desk("push", "run")
    shutil.rmtree(f"{desk.run}/checkpoint-300")
    ledger = open_ledger(desk.run, write=True)
    assert ledger is not None
    ledger.append(GoingBack("checkpoint-200", 200, "", ()))
    ledger.append(WentBack(200))
    ledger.close()

    ended = desk("pull", desk.repo, "run")

    assert (ended.code, "given up when the run went back to checkpoint-200" in ended.err) == (1, True)
    assert not Path(desk.run, "checkpoint-300").exists()
    assert desk("pull", desk.repo, "fresh").code == 0


def test_what_is_public_is_pulled_without_a_login(desk: Desk) -> None:
    desk("push", "run")
    desk.hub.tokens.clear()
    private = desk("pull", desk.repo, "fresh", HF_TOKEN="")
    assert (private.code, "does not accept the token" in private.err) == (2, True)
    desk.hub.public = True

    assert desk("pull", desk.repo, "fresh", HF_TOKEN="").code == 0
    assert desk.hub.tokens == {""}


def test_a_checkpoint_or_a_url_is_no_run_to_pull_into(desk: Desk) -> None:
    assert "is one checkpoint" in desk("pull", "me/x", "run/checkpoint-300").err
    assert "is not on this machine" in desk("pull", "me/x", "s3://bucket/run").err


def test_a_repository_that_is_none_is_named(desk: Desk) -> None:
    for repo in ("me/none", "me/none@v2"):
        ended = desk("pull", repo, "fresh")
        assert (ended.code, "there is no such repository" in ended.err) == (2, True)
    assert "not OWNER/NAME" in desk("verify", "none").err


def test_old_pushes_are_removed_and_never_what_is_not_ours(desk: Desk) -> None:
    for step in ("100", "200", "300"):
        assert desk("push", "run", "--checkpoint", step, "--repo", "me/run-{step}").code == 0
    mine = desk.hub.repos["me/run-100"]
    mine.add("main", "mine", {**mine.head, "notes.txt": blob_of(b"mine")})

    dry = desk("prune", "run", "--keep", "1", "--dry-run")
    assert [line.split()[:3] for line in dry.out.splitlines()] == [
        ["would", "remove", "checkpoint-100"],
        ["would", "remove", "checkpoint-200"],
        ["would", "keep", "checkpoint-300"],
    ]
    refused = desk("prune", "run", "--keep", "1")
    assert (refused.code, "notes.txt; it is left alone" in refused.err) == (2, True)
    assert sorted(desk.hub.repos) == ["me/run-100", "me/run-200", "me/run-300"]
    mine.add("main", "not any more", {name: blob for name, blob in mine.head.items() if name != "notes.txt"})
    assert desk("prune", "run", "--keep", "1").code == 0
    assert list(desk.hub.repos) == ["me/run-300"]
    assert [item["state"] for item in desk.pushes()] == ["removed", "removed", "pushed"]
    assert desk("prune", "run", "--keep", "1").out.splitlines()[-1] == "nothing to remove"


def test_nothing_is_removed_while_what_stays_is_not_what_was_pushed(desk: Desk) -> None:
    for step in ("200", "300"):
        desk("push", "run", "--checkpoint", step, "--repo", "me/all", "--folder", "{step}")
    repo = desk.hub.repos["me/all"]
    repo.add("main", "lost", {name: blob for name, blob in repo.head.items() if name != "300/optimizer.pt"})
    for item in desk.pushes():
        assert item["state"] == "pushed"
    assert desk("verify", "me/all", "--run", "run", "--checkpoint", "200").code == 0

    desk.hub.repos["me/all"].commits.clear()
    desk.hub.repos["me/all"].add("main", "all gone", {})
    refused = desk("prune", "run", "--keep", "1")

    assert (refused.code, "nothing is removed" in refused.err) == (1, True)
