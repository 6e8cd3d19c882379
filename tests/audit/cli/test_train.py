"""`audit train` from the command line: exit codes, where each kind of line goes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.cli import run
from tests.audit.training.conftest import InThisProcess, Shop
from tests.audit.training.toy import POISON


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shop]:
    """A continuous training in the current directory; its legs run in this process."""

    def make(**parts: Any) -> Shop:
        made = Shop(tmp_path / "shop", **parts)
        monkeypatch.chdir(made.home)
        monkeypatch.setattr("audit.cli.train.load", lambda: made.registry)
        monkeypatch.setattr("audit.training.loop.InChild", InThisProcess)
        return made

    return make


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_lines_for_people_go_to_stdout(shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]) -> None:
    shop().drop("a.jsonl", [1, 2, 3])
    assert run(["train", "train.toml"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a.jsonl: 3 examples, steps 1 to 2, from scratch",
        "a.jsonl: trained to step 2, loss 2.49 -> 2.476; checkpoint-2 is proven and sealed",
        "a.jsonl: moved to done/a.jsonl",
    ]
    assert err == ""


def test_a_bad_file_is_exit_1_and_said_even_if_quiet(
    shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    made = shop()
    made.drop("a.jsonl", [1, POISON])
    made.drop("b.jsonl", [1, 2])
    assert run(["train", "-q", "train.toml"]) == 1
    assert capsys.readouterr() == ("a.jsonl: set aside in rejected/a.jsonl: row 2: is poison\n", "")


def test_a_failure_is_one_line_on_stderr(shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]) -> None:
    shop(toy='fail = "it burns"').drop("a.jsonl", [1])
    assert run(["train", "train.toml"]) == 1
    assert capsys.readouterr().err == "audit train: a.jsonl: failed at step 1: it burns\n"


def test_a_failure_is_the_last_event_of_json(shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]) -> None:
    shop(toy='fail = "it burns"').drop("a.jsonl", [1])
    assert run(["train", "train.toml", "--log-format", "json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert [event["event"] for event in events(out)] == ["batch", "step", "failed", "refused"]
    assert events(out)[-1]["reason"] == "a.jsonl: failed at step 1: it burns"


@pytest.mark.parametrize("options", [[], ["--log-format", "json"]])
def test_what_cannot_be_done_is_exit_2(
    options: list[str], shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    shop(more="nonsense = 1")
    assert run(["train", "train.toml", *options]) == 2
    out, err = capsys.readouterr()
    reason = "train.toml: watch.nonsense: there is no such key; there are: release-seconds, settle-seconds, snapshots"
    assert err == f"audit train: {reason}\n"
    assert [(event["event"], event["reason"]) for event in events(out)] == ([("error", reason)] if options else [])


@pytest.mark.parametrize(
    "options", [["--accept", "loss/jump"], ["--reason", "x"], ["--accept", "loss/jump", "--reason", " "]]
)
def test_nothing_is_accepted_without_a_reason(
    options: list[str], shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    shop().drop("a.jsonl", [1])
    assert run(["train", "train.toml", *options]) == 2
    assert "--accept and --reason belong together" in capsys.readouterr().err


def test_a_daemon_without_what_watches_says_what_to_install(
    shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop()
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert run(["train", "train.toml", "--watch"]) == 2
    assert "pip install 'checkpoint-audit[watch]'" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "name"), [(143, "SIGTERM"), (130, "SIGINT")])
def test_a_stop_before_anything_was_saved_says_how_to_go_on(
    shop: Callable[..., Shop],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    name: str,
) -> None:
    shop()
    monkeypatch.setattr("audit.cli.train.notified", lambda *_: code)
    assert run(["train", "train.toml"]) == code
    assert capsys.readouterr().out == f"note: stopped by {name}; run the same command to continue\n"
    assert run(["train", "-q", "train.toml"]) == code
    assert capsys.readouterr() == ("", "")
