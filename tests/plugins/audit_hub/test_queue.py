"""The queue is in the ledger: the same checkpoint to the same place once, and every state is a row."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audit.api import verify
from audit.cli import run as command
from audit.errors import AuditError, RefusedError
from audit.ledger.back_events import GoingBack, WentBack
from audit.ledger.push_events import PushedFile, PushState
from audit.ledger.store import open_ledger
from audit.options import Options
from audit.retention.outbox import place_in_outbox
from audit.testing.runs import edit_arguments, edit_state, make_run
from audit_hub import background, process, pruning, pushing, working
from audit_hub.plugin import Hub
from audit_hub.queue import enqueue, planned, pushes_of, record, release
from audit_hub.settings import Settings
from audit_hub.turn import turn
from audit_hub.working import Patience, conclude, job_of, work


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answers instead of the process that talks to the Hub; the last one stays."""
    answers: list[dict[str, Any]] = []

    def ask(job: dict[str, Any], seconds: float, lock: int | None = None) -> dict[str, Any]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(working, "ask", ask)
    monkeypatch.setattr(pushing, "ask", ask)
    return answers


def pushed(state: str = "pushed") -> dict[str, Any]:
    return {"state": state, "repo": "me/x", "commit": "c0", "files": {"a": [2, "a" * 64, "b" * 64]}}


def states(run: str) -> list[str]:
    return [item.state.state for item in pushes_of(run)]


def test_it_is_queued_once_and_kept(run: str) -> None:
    first, again = enqueue(run, None, Settings()), enqueue(run, "300", Settings())

    assert (first.new, again.new) == (True, False)
    assert again.push.queued == first.push.queued
    (only,) = pushes_of(run)
    assert (only.queued.checkpoint, only.state.state, only.done) == ("checkpoint-300", "waiting", False)
    assert os.path.isdir(place_in_outbox(run, only.queued.id, "checkpoint-300"))
    assert enqueue(run, "300", Settings(repo="me/{step}")).new
    assert enqueue(run, "checkpoint-200", Settings()).new


def test_after_it_was_removed_or_found_wrong_it_is_pushed_anew(run: str) -> None:
    first = enqueue(run, "300", Settings()).push.queued
    for state in ("wrong", "removed"):
        record(run, PushState(pushes_of(run)[-1].queued.id, state))
        assert enqueue(run, "300", Settings()).new
    assert len({item.queued.id for item in pushes_of(run)}) == 3
    assert pushes_of(run)[0].queued == first


def test_what_the_run_gives_up_while_it_waits_is_not_pushed(run: str, hub: list[dict[str, Any]]) -> None:
    """It may have been trained on a file that is dropped; a try that is under way then does not bring it back."""
    for step in ("200", "300"):
        enqueue(run, step, Settings())
    late = pushes_of(run)[1]
    go_back(run, 200)
    conclude(run, late, {"state": "waiting", "reason": "a slow answer"})

    assert states(run) == ["waiting", "refused"]
    assert pushes_of(run)[1].state.reason == "it was given up when the run went back to checkpoint-200"
    hub.append(pushed())
    work(run, Patience(), lambda *_: None)
    assert states(run) == ["pushed", "refused"]
    assert not os.path.isdir(os.path.join(run, ".audit", "outbox"))
    with pytest.raises(RefusedError, match="checkpoint-300 is not proven"):
        enqueue(run, "300", Settings())


def test_what_was_given_up_is_none_of_those_to_keep_on_the_hub(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("100", "200", "300"):
        conclude(run, enqueue(run, step, Settings()).push, pushed())
    go_back(run, 200)

    found = pruning.prune(run, 1, Patience(), dry_run=True)

    assert [item.queued.checkpoint for item in found.kept] == ["checkpoint-200"]
    assert [item.queued.checkpoint for item in found.removed] == ["checkpoint-100"]
    assert command(["hub", "list", run]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].endswith("the run went back to checkpoint-200 after it")
    assert "went back" not in lines[2]


def go_back(run: str, step: int) -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    ledger.append(GoingBack(f"checkpoint-{step}", step, "", ()))
    ledger.append(WentBack(step))
    ledger.close()


def test_a_deeper_proof_asked_for_later_makes_it_undone(run: str) -> None:
    queued = enqueue(run, "300", Settings()).push
    conclude(run, queued, pushed())
    assert pushes_of(run)[0].done

    enqueue(run, "300", Settings(depth="full"))

    (only,) = pushes_of(run)
    assert (only.done, only.state.state, only.repo) == (False, "pushed", "me/x")
    assert job_of(run, only, "/s")["job"] == "verify"


def test_what_is_not_proven_or_holds_a_secret_is_not_queued(run: str) -> None:
    edit_arguments(f"{run}/checkpoint-200", hub_token="hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()

    with pytest.raises(RefusedError, match="checkpoint-300 is not proven"):
        enqueue(run, "300", Settings())
    with pytest.raises(RefusedError, match=r"looks like a secret, hub_token \(hf_a\.\.\.\)"):
        enqueue(run, None, Settings())
    with pytest.raises(AuditError, match="no such checkpoint; there: checkpoint-100, "):
        enqueue(run, "3000", Settings())
    assert pushes_of(run) == []


def test_a_dry_run_records_nothing(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["hub", "push", run, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would push  checkpoint-300  {user}/run-300-" in out
    assert re.search(r"to be pushed: (\S+ kB) in 1 checkpoint; \1 of it counts against", out)
    assert not os.path.exists(f"{run}/.audit")


def test_a_dry_run_says_that_nobody_is_logged_in_and_what_is_passed_over(
    run: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    os.unlink(f"{run}/checkpoint-300/optimizer.pt")
    monkeypatch.setattr("audit_hub.client.token", lambda: None)
    assert command(["hub", "push", run, "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "note: passed over checkpoint-300: optimizer.pt is not there" in said
    assert (
        "note: nobody is logged in to the Hub: run `hf auth login`, or set HF_TOKEN ({user} is the one who is)\n"
        in said
    )
    monkeypatch.setattr("audit_hub.client.token", lambda: "some token")
    command(["hub", "push", run, "--dry-run"])
    assert "logged in" not in capsys.readouterr().err


def test_it_is_tried_again_after_a_pause_that_doubles(run: str, hub: list[dict[str, Any]]) -> None:
    enqueue(run, None, Settings())
    waiting = {"state": "waiting", "reason": "no answer"}
    hub += [waiting, waiting, {**waiting, "retry_after": 0.2}, pushed()]
    said: list[str] = []

    work(run, Patience(wait=60, pause=0.1), lambda _, text: said.append(text))

    assert [text.split()[0] for text in said] == ["waiting", "waiting", "waiting", "pushed"]
    assert "no answer; tried 3 times, again after 2" in said[2]
    assert states(run) == ["pushed"]
    assert not os.path.exists(f"{run}/.audit/outbox")


def test_what_needs_a_person_is_tried_once_and_the_others_go_on(run: str, hub: list[dict[str, Any]]) -> None:
    for step in ("100", "200", "300"):
        enqueue(run, step, Settings())
    hub += [{"state": "stuck", "reason": "log in"}, {"state": "refused", "reason": "changed"}, pushed()]

    work(run, Patience(wait=60, pause=0.1), lambda *_: None)

    assert states(run) == ["stuck", "refused", "pushed"]
    assert len(os.listdir(f"{run}/.audit/outbox")) == 1
    assert re.match(
        r"on the Hub: \S+ kB in 1 checkpoint; to be pushed: \S+ kB in 1 checkpoint;", planned(pushes_of(run))
    )


def test_in_the_background_nothing_is_tried_before_its_time(run: str, hub: list[dict[str, Any]]) -> None:
    queued = enqueue(run, None, Settings()).push
    conclude(run, queued, {"state": "waiting", "reason": "too many requests", "retry_after": 3600.0})
    hub.append(pushed())

    work(run, Patience(now=False), lambda *_: None, background=True)
    assert states(run) == ["waiting"]
    work(run, Patience(), lambda *_: None)
    assert states(run) == ["pushed"]


def test_who_was_killed_before_the_files_were_kept_keeps_them_later(run: str, hub: list[dict[str, Any]]) -> None:
    queued = enqueue(run, None, Settings()).push.queued
    shutil.rmtree(f"{run}/.audit/outbox")
    hub.append({"state": "waiting", "reason": "no answer"})

    work(run, Patience(), lambda *_: None)

    assert os.listdir(f"{run}/.audit/outbox") == [queued.id]


def test_what_the_store_keeps_wrong_stays_until_it_was_pushed_elsewhere(run: str, hub: list[dict[str, Any]]) -> None:
    enqueue(run, None, Settings())
    hub += [{**pushed("wrong"), "reason": "another byte"}, pushed()]
    work(run, Patience(), lambda *_: None)
    assert len(os.listdir(f"{run}/.audit/outbox")) == 1

    enqueue(run, None, Settings())
    work(run, Patience(), lambda *_: None)

    assert states(run) == ["wrong", "pushed"]
    assert not os.path.exists(f"{run}/.audit/outbox")
    release(run)


def test_nothing_is_deleted_that_was_not_read_back_or_is_not_what_was_pushed(
    run: str, hub: list[dict[str, Any]]
) -> None:
    queued = enqueue(run, "300", Settings(depth="full")).push.queued
    here = {path: [*file[:2], "b" * 64] for path, file in queued.files.items()}
    hub += [{"state": "waiting", "reason": "no answer"}, {**pushed("verified"), "files": here}, pushed()]
    asked = {"settings": Settings(depth="full"), "patience": Patience(), "delete_local": True}

    first = pushing.push(run, "300", options=Options(), **asked)  # type: ignore[arg-type]
    assert (first.deleted, os.path.isdir(f"{run}/checkpoint-300")) == ((), True)
    second = pushing.push(run, "300", options=Options(), **asked)  # type: ignore[arg-type]
    assert (second.deleted, os.path.isdir(f"{run}/checkpoint-300")) == (("checkpoint-300",), False)
    assert second.notes == (
        "checkpoint-300 was the newest: audit guard hands out an older one until it is pulled back",
    )
    assert [item.name for item in verify(run).checkpoints] == ["checkpoint-100", "checkpoint-200"]


def test_one_works_and_one_waits_however_many_come(run: str) -> None:
    verify(run)
    with turn(run, wait=False) as lock:
        assert lock is not None
        with pytest.raises(RefusedError, match="another process is pushing"), turn(run, wait=False):
            pass
        with taken(run, "push.next"), turn(run, wait=True) as other:
            assert other is None
    with turn(run, wait=True) as lock:
        assert lock is not None


@contextmanager
def taken(run: str, name: str) -> Iterator[None]:
    from fcntl import LOCK_EX, flock

    descriptor = os.open(f"{run}/.audit/{name}", os.O_RDWR | os.O_CREAT)
    flock(descriptor, LOCK_EX)
    yield
    os.close(descriptor)


def test_the_documents_fit_their_schema(
    run: str, hub: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    schema = json.loads((files("audit_hub") / "hub-1.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    hub.append({"state": "waiting", "reason": "no answer"})

    def document(code: int, *words: str) -> Any:
        capsys.readouterr()
        assert command(["hub", *words, "--format", "json"]) == code
        found = json.loads(capsys.readouterr().out)
        jsonschema.validate(found, schema)
        return found

    assert document(0, "list", run)["pushes"] == []
    assert document(1, "push", run)["pushes"][0]["reason"] == "no answer"
    assert document(0, "push", run, "--dry-run")["pushes"][0]["tries"] == 1
    assert document(0, "list", run)["pushes"][0]["next"] > "2026"
    assert document(0, "prune", run, "--keep", "1")["removed"] == []
    with turn(run, wait=False):
        assert "another process" in document(1, "push", run)["refusal"]


def test_a_run_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list"], ["push"], ["push", "--pending"], ["prune", "--keep", "1"]):
        assert command(["hub", words[0], str(tmp_path / "nowhere"), *words[1:]]) == 2
        assert "nowhere: no such run" in capsys.readouterr().err


def test_names_cannot_be_given_for_what_is_queued_already(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["hub", "push", run, "--pending", "--repo", "me/{step}"]) == 2
    assert "leave out the names" in capsys.readouterr().err


def test_audit_train_pushes_what_a_batch_ended_with(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(background, "start", started.append)
    hear = Hub().begin(run, {"repo": "me/{step}"}, "/home", Options())

    assert hear({"event": "step", "step": 1}) is None
    assert hear({"event": "finished", "checkpoint": "checkpoint-200"}) is None
    assert "checkpoint-900 is not pushed: " in str(hear({"event": "finished", "checkpoint": "checkpoint-900"}))

    assert started == [run]
    assert [item.queued.repo for item in pushes_of(run)] == ["me/200"]
    jsonschema.Draft202012Validator.check_schema(dict(Hub().schema()))


def test_what_audit_train_has_proven_is_pushed_as_it_judges(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its table [verify]: judged in another way the checkpoint is not proven, and would never be pushed."""
    monkeypatch.setattr(background, "start", lambda run: None)
    edit_state(f"{run}/checkpoint-300", log_history=_rising_at_250)
    finished = {"event": "finished", "checkpoint": "checkpoint-300"}

    plain = Hub().begin(run, {"repo": "me/{step}"}, "/home", Options())
    assert "checkpoint-300 is not proven" in str(plain(finished))
    hear = Hub().begin(run, {"repo": "me/{step}"}, "/home", Options(ignore=("learning-rate/rose-again",)))
    assert hear(finished) is None
    assert [item.queued.checkpoint for item in pushes_of(run)] == ["checkpoint-300"]


def _rising_at_250(log: Any) -> Any:
    return [
        {**item, "learning_rate": 3 * item["learning_rate"]}
        if item["step"] == 250 and "learning_rate" in item
        else item
        for item in log
    ]


def test_a_process_that_answers_nothing_is_ended_and_its_last_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert process.ask({"job": "push"}, 30) == {"state": "waiting", "reason": "the upload process ended with code 1"}


def test_a_row_of_files_is_what_was_sealed(run: str) -> None:
    queued = enqueue(run, "300", Settings()).push.queued
    sealed = queued.files["optimizer.pt"]
    assert isinstance(sealed, PushedFile)
    assert sealed.size == os.path.getsize(f"{run}/checkpoint-300/optimizer.pt")
