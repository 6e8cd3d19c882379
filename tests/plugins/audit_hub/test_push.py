"""A proven checkpoint is pushed once, whatever goes wrong, and nothing else is pushed at all."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from audit.testing.runs import edit_arguments
from tests.plugins.audit_hub.conftest import Desk, contents
from tests.plugins.audit_hub.server import Fault

SECRET = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
ONCE = ["initial commit", "Add checkpoint-300", "Seal checkpoint-300"]
Make = Callable[[bool], Desk]


def test_a_checkpoint_is_pushed_verified_deleted_and_pulled_back(desk: Desk) -> None:
    before = contents(f"{desk.run}/checkpoint-300")

    pushed = desk("push", "run")

    assert (pushed.code, pushed.err) == (0, "")
    assert pushed.out.startswith(f"pushed  checkpoint-300  {desk.hub.url}/me/run-300-2")
    assert "its bytes were not read back" in pushed.out
    repo = desk.hub.repos[desk.repo]
    assert repo.private
    assert repo.titles() == ONCE
    assert repo.head["README.md.saved"].content == before["README.md"]
    assert "README.md" not in repo.head
    assert desk.outbox == []
    deleted = desk("push", "run", "--checkpoint", "300", "--delete-local")
    assert deleted.code == 0
    assert "checkpoint-300 was the newest" in deleted.err
    assert "every byte read back" in deleted.out
    assert deleted.out.endswith("deleted  run/checkpoint-300\n")
    assert not Path(desk.run, "checkpoint-300").exists()
    pulled = desk("pull", desk.repo, "run")
    assert (pulled.code, pulled.err) == (0, "")
    assert contents(f"{desk.run}/checkpoint-300") == before
    assert desk.audit("guard", "run").out == "run/checkpoint-300\n"


@pytest.mark.slow
@pytest.mark.parametrize("xet", [False, True])
def test_it_is_the_same_with_xet_and_without(make_desk: Make, xet: bool) -> None:
    desk = make_desk(xet)
    before = contents(f"{desk.run}/checkpoint-300")

    assert desk("push", "run", "--depth", "full").code == 0
    assert desk("verify", desk.repo, "--depth", "full").code == 0
    assert desk("pull", desk.repo, "elsewhere").code == 0

    assert contents(desk.home / "elsewhere" / "checkpoint-300") == before
    assert desk.hub.count("PUT", "/lfs/") == (0 if xet else 5)
    assert desk.hub.count("GET", "xet-write-token") == (1 if xet else 0)
    assert desk.hub.repos[desk.repo].titles() == ONCE


@pytest.mark.slow
def test_a_second_push_sends_nothing_and_a_new_name_is_another_push(desk: Desk) -> None:
    desk("push", "run")
    asked = len(desk.hub.requests)

    again = desk("push", "run")

    assert (again.code, len(desk.hub.requests)) == (0, asked)
    assert desk("push", "run", "--repo", "{user}/{prefix}", "--branch", "step-{step}").code == 0
    assert desk.hub.repos["me/run"].titles("step-300") == ONCE
    assert desk.hub.repos["me/run"].titles() == ONCE[:1]


@pytest.mark.slow
def test_one_repository_can_have_a_folder_for_each(desk: Desk) -> None:
    names = ("--repo", "team/{prefix}", "--folder", "checkpoint-{step}", "--prefix", "lora", "--public")
    for step in ("100", "300"):
        assert desk("push", "run", "--checkpoint", step, *names).code == 0

    repo = desk.hub.repos["team/lora"]
    assert not repo.private
    assert {path.split("/")[0] for path in repo.head} == {".gitattributes", "checkpoint-100", "checkpoint-300"}
    asked = desk.hub.count("GET", "/tree/")
    found = desk("verify", "team/lora")
    assert [line.split()[:2] for line in found.out.splitlines()] == [
        ["recorded", "checkpoint-100"],
        ["recorded", "checkpoint-300"],
    ]
    assert desk.hub.count("GET", "/tree/") == asked + 3  # to find them, and one for each


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_unproven_checkpoint_and_one_with_a_secret_are_refused_and_nothing_is_asked(desk: Desk) -> None:
    edit_arguments(f"{desk.run}/checkpoint-200", hub_token=SECRET)
    Path(desk.run, "checkpoint-300", "optimizer.pt").unlink()

    unproven = desk("push", "run", "--checkpoint", "300")
    secret = desk("push", "run")

    assert (unproven.code, unproven.out) == (1, "")
    assert "checkpoint-300 is not proven" in unproven.err
    assert secret.code == 1
    assert "checkpoint-200/training_args.bin has what looks like a secret, hub_token (hf_a...)" in secret.err
    assert SECRET not in secret.said
    assert desk("push", "run", "--checkpoint", "100", "--dry-run").code == 0
    assert desk.hub.requests == []
    assert desk.pushes() == []


@pytest.mark.slow
def test_other_files_in_the_repository_are_neither_replaced_nor_removed(desk: Desk) -> None:
    desk("push", "run", "--repo", "me/mine", "--folder", "{step}")
    repo = desk.hub.repos["me/mine"]
    repo.add("main", "mine", {**repo.head, "notes.txt": repo.head[".gitattributes"]})

    refused = desk("push", "run", "--checkpoint", "200", "--repo", "me/mine", "--prefix", "{step}")

    assert refused.code == 2  # no template has the step in it
    stuck = desk("push", "run", "--checkpoint", "200", "--repo", "me/mine", "--branch", "step-{step}")
    assert stuck.code == 1
    assert "me/mine: holds other files, such as 300/" in stuck.out
    assert "notes.txt" in repo.head


@pytest.mark.slow
def test_what_was_changed_or_deleted_before_it_was_pushed_is_refused_for_good(desk: Desk) -> None:
    desk("push", "run", HF_ENDPOINT="http://127.0.0.1:9")
    (id,) = desk.outbox
    kept = Path(desk.run, ".audit", "outbox", id, "checkpoint-300", "optimizer.pt")
    data = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(data[:-1] + b"x")

    changed = desk("push", "run", "--pending")

    assert (changed.code, desk.state()) == (1, "refused")
    assert "optimizer.pt was changed after the checkpoint was proven" in changed.out
    assert desk.hub.repos == {}
    assert desk.outbox == []


# -- what fails --------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A fault, what it shows as, and whether the next try does it without anybody's help."""

    name: str
    fault: Fault
    xet: bool = False
    state: str = "pushed"
    says: str = ""
    options: tuple[str, ...] = ()


LIMIT = (("RateLimit", '"api";r=0;t=1'), ("Retry-After", "1"))
LATER = (("Retry-After", "7000"),)
TABLE = [
    Row("401", Fault("POST", "preupload", 401, 9), state="stuck", says="does not accept the token"),
    Row("403", Fault("POST", "commit", 403, 9), state="stuck", says="the token may lack the right to write"),
    Row("403 storage", Fault("POST", "batch", 403, 9, body="Private storage limit reached"), state="stuck",
        says="403: Private storage limit reached"),
    Row("413", Fault("POST", "commit", 413, 9), state="stuck", says="takes no file of that size"),
    Row("409", Fault("POST", "commit", 409), state="waiting", says="another operation"),
    Row("412", Fault("POST", "commit", 412, 9), state="waiting", says="somebody else commits"),
    Row("429 on preupload", Fault("POST", "preupload", 429, headers=LIMIT)),
    Row("500 on batch", Fault("POST", "batch", 500)),
    Row("503 on PUT", Fault("PUT", "/lfs/", 503)),
    Row("PUT cut", Fault("PUT", "/lfs/", "cut")),
    Row("429 on create", Fault("POST", "repos/create", 429, headers=LATER), state="waiting", says="too many requests"),
    Row("503 on create", Fault("POST", "repos/create", 503), state="waiting", says="problem of its own (503"),
    Row("create, answer lost", Fault("POST", "repos/create", "lose"), state="waiting"),
    Row("503 on commit", Fault("POST", "commit", 503), state="waiting", says="(503"),
    Row("commit cut", Fault("POST", "commit", "cut"), state="waiting"),
    Row("commit, answer lost", Fault("POST", "commit", "lose"), state="waiting"),
    Row("seal, answer lost", Fault("POST", "commit", "lose", skip=1), state="waiting"),
    Row("503 on commit, xet", Fault("POST", "commit", 503), xet=True),
    Row("commit cut, xet", Fault("POST", "commit", "cut"), xet=True),
    Row("commit, answer lost, xet", Fault("POST", "commit", "lose"), xet=True),
    Row("address of a PUT expired", Fault("PUT", "/lfs/", 403, 9), state="waiting", says="not valid any more"),
    Row("401 of xet", Fault("GET", "xet-write-token", 401, 99), xet=True, state="stuck", says="does not accept the token"),
    Row("403 of xet", Fault("GET", "xet-write-token", 403, 99), xet=True, state="stuck", says="forbids it"),
    Row("silent", Fault("POST", "preupload", "silent"), state="waiting", says="not done within 4 s",
        options=("--deadline", "4")),
    Row("silent after the commit", Fault("GET", "tree", "silent", skip=1), state="waiting", says="not done within 6 s",
        options=("--deadline", "6")),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_a_fault_shows_as_it_should_and_is_made_up_for(make_desk: Make, row: Row) -> None:
    desk = make_desk(row.xet)
    desk.hub.break_with(row.fault)

    first = desk("push", "run", *row.options)

    assert desk.state() == row.state, first.said
    assert row.says in first.out
    assert first.code == (0 if row.state == "pushed" else 1)
    assert len(desk.outbox) == (0 if row.state == "pushed" else 1)
    desk.hub.break_with()
    second = desk("push", "run", "--pending")
    assert (second.code, desk.state()) == (0, "pushed"), second.said
    assert desk.hub.repos[desk.repo].titles() == ONCE
    assert desk("verify", desk.repo, "--run", "run", "--depth", "full").code == 0
    assert desk.outbox == []


@pytest.mark.slow
def test_a_store_of_xet_that_cannot_be_reached_is_waited_for_no_longer_than_the_deadline(make_desk: Make) -> None:
    desk = make_desk(True)
    desk.hub.store = "http://127.0.0.1:9"

    begun = time.monotonic()
    first = desk("push", "run", "--deadline", "5")

    assert "not done within 5 s" in first.out
    assert time.monotonic() - begun < 120
    desk.hub.store = ""
    assert desk("push", "run", "--pending").code == 0


@pytest.mark.slow
def test_it_is_tried_again_while_it_may_be_and_as_late_as_the_server_asks(desk: Desk) -> None:
    desk.hub.break_with(Fault("POST", "repos/create", 503, 2))

    done = desk("push", "run", "--wait", "60", "--pause", "0.1")

    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["waiting", "waiting", "pushed"]
    desk.hub.break_with(Fault("POST", "repos/create", 429, 9, headers=LATER))
    asked = desk.hub.count("POST", "create")
    assert desk("push", "run", "--checkpoint", "200", "--wait", "5", "--pause", "0.1").code == 1
    assert desk.hub.count("POST", "create") == asked + 1


@pytest.mark.slow
def test_without_a_login_or_a_network_it_waits_and_says_so(desk: Desk) -> None:
    out = desk("push", "run", HF_TOKEN="")
    assert (out.code, desk.state()) == (1, "stuck")
    assert "nobody is logged in" in out.out
    assert "HF_HUB_OFFLINE is set" in desk("push", "run", "--pending", HF_HUB_OFFLINE="1").out
    away = desk("push", "run", "--pending", HF_ENDPOINT="http://127.0.0.1:9")
    assert (away.code, desk.state()) == (1, "waiting")
    assert "again after 2" in away.out
    assert desk("push", "run", "--pending").code == 0


@pytest.mark.slow
def test_what_waits_is_kept_from_rotation(desk: Desk) -> None:
    before = contents(f"{desk.run}/checkpoint-300")
    desk("push", "run", HF_ENDPOINT="http://127.0.0.1:9")
    shutil.rmtree(f"{desk.run}/checkpoint-300")

    assert desk("push", "run", "--pending").code == 0

    assert desk("pull", desk.repo, "fresh").code == 0
    assert contents(desk.home / "fresh" / "checkpoint-300") == before


# -- what the store keeps wrong ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_wrong_byte_in_the_store_is_found_before_the_local_checkpoint_is_deleted(desk: Desk) -> None:
    desk.hub.break_with(Fault("PUT", "/lfs/", "flip"))
    assert desk("push", "run").code == 0
    assert desk("verify", desk.repo).code == 0  # what was recorded is right

    full = desk("push", "run", "--delete-local")

    assert (full.code, desk.state()) == (1, "wrong")
    assert "what the Hub sends is not what was pushed" in full.out
    assert Path(desk.run, "checkpoint-300").is_dir()
    assert desk("verify", desk.repo, "--depth", "full").code == 1
    assert desk("pull", desk.repo, "fresh").code == 2
    assert not (desk.home / "fresh").exists()


@pytest.mark.slow
def test_a_wrong_byte_in_the_store_of_xet_is_found_too(make_desk: Make) -> None:
    desk = make_desk(True)
    assert desk("push", "run").code == 0
    blocks = [path for path in (desk.hub.root / "xet").rglob("*") if path.is_file() and path.stat().st_size > 10_000]
    for path in blocks:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    full = desk("push", "run", "--delete-local", "--deadline", "60")

    assert blocks
    assert full.code == 1
    assert Path(desk.run, "checkpoint-300").is_dir()
    assert desk.state() != "verified"


@pytest.mark.slow
def test_what_became_another_checkpoint_here_is_not_deleted(desk: Desk) -> None:
    assert desk("push", "run", "--depth", "full").code == 0
    shutil.rmtree(f"{desk.run}/checkpoint-300")
    shutil.copytree(f"{desk.run}/checkpoint-200", f"{desk.run}/checkpoint-300")

    kept = desk("push", "run", "--checkpoint", "300", "--delete-local")

    assert kept.code == 1
    assert Path(desk.run, "checkpoint-300").is_dir()


# -- killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("xet", [False, True])
def test_killed_at_any_request_it_goes_on_and_nothing_is_there_twice(make_desk: Make, xet: bool) -> None:
    desk, number = make_desk(xet), 0
    depth, reached = ("quick", "pushed") if xet else ("full", "verified")
    while True:
        shutil.rmtree(f"{desk.run}/.audit", ignore_errors=True)
        desk.hub.repos.clear()
        desk.hub.requests.clear()
        process = subprocess.Popen(
            desk.command("hub", "push", "run", "--depth", depth),
            cwd=desk.home,
            env=desk.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        kill = Fault("*", "", "call", skip=number, act=lambda process=process: os.kill(process.pid, signal.SIGKILL))  # type: ignore[misc]
        desk.hub.break_with(kill)
        code = process.wait()
        desk.hub.break_with()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        for _ in range(100):  # the process that talks to the Hub ends a moment later
            done = desk("push", "run", "--pending")
            if "another process is pushing" not in done.err:
                break
            time.sleep(0.1)
        assert (done.code, desk.state()) == (0, reached), (number, done)
        assert desk.hub.repos[desk.repo].titles() == ONCE, number
        assert desk.outbox == []
        number += 1
    assert number > 9
