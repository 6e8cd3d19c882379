"""What needs a person is told, and whoever is told can neither hold the training up nor make it fail."""

import json
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audit.backend.training import LegFailed, Note
from audit.cli import run as run_command
from audit.errors import ConfigError
from audit.training import delivery, notifying
from audit.training.config import read_train_config
from audit.training.events import NAMES, Event, TrainingRefused, as_json
from audit.training.loop import TrainOptions, train
from audit.training.notifying import Notifier, document, notified
from audit.training.process import here
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import InThisProcess, Shop
from tests.audit.training.listener import Listener, listening
from tests.audit.training.toy import POISON

pytest.importorskip("httpx2", reason="the extra notify is not installed")
pytest.importorskip("tenacity", reason="the extra notify is not installed")

Make = Callable[..., Shop]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.02)
    monkeypatch.delenv("RANK", raising=False)


def told_by(make_shop: Make, listener: Listener, more: str = "", toy: str = "per_step = 2") -> Shop:
    return make_shop(toy=toy, more=f'[notify]\nurl = "{listener.url}"\n{more}')


def go(shop: Shop) -> int:
    """One call, with its events told."""
    shop.events = []
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    return notified(
        config,
        shop.emit,
        lambda emit: train(config, trainer, shop.registry, emit, TrainOptions(), run_leg=here),
    )


def kinds(listener: Listener) -> list[str]:
    return [item["event"] for item in listener.told]


def test_a_bad_file_and_a_refusal_are_told_as_the_schema_says(make_shop: Make) -> None:
    schema = json.loads((files("audit") / "schemas" / "event-1.json").read_text(encoding="utf-8"))
    with listening() as listener:
        shop = told_by(make_shop, listener)
        shop.drop("a.jsonl", [POISON])
        shop.drop("b.jsonl", [1, 2])
        assert go(shop) == 1
        shop.backend.adapter = lambda settings: {"peft_type": "LORA", "r": 64, "lora_alpha": 8}  # type: ignore[attr-defined]
        shop.drop("c.jsonl", [3, 4])
        with pytest.raises(TrainRefused) as refused:
            go(shop)
        assert kinds(listener) == ["rejected", "refused"]
        assert listener.told[0]["file"] == "a.jsonl"
        assert listener.told[0]["run"] == str(shop.run)
        assert listener.told[1]["reason"] == str(refused.value)
        assert listener.told[1]["text"] == f"run: refused: {refused.value}"
        for item in listener.told:
            jsonschema.validate(item, schema)


def test_a_failure_is_told_with_its_kind_and_what_is_not_proven_too(make_shop: Make) -> None:
    with listening() as listener:
        shop = told_by(make_shop, listener, toy='per_step = 2\nfail = "the driver hung"')
        shop.drop("a.jsonl", [1])
        with pytest.raises(TrainRefused):
            go(shop)
        assert [(item["event"], item.get("kind")) for item in listener.told] == [("failed", "error"), ("refused", None)]
        assert listener.told[0]["reason"] == "the driver hung"


def test_what_is_not_proven_is_told(make_shop: Make) -> None:
    with listening() as listener:
        shop = told_by(make_shop, listener)
        shop.drop("a.jsonl", [1, 2])

        def spoil(what: str) -> None:
            if what.startswith("saved"):
                (shop.run / "checkpoint-1" / "scheduler.pt").unlink()

        shop.backend.tick = spoil
        with pytest.raises(TrainRefused, match="not proven"):
            go(shop)
        assert (listener.told[0]["event"], listener.told[0]["kind"]) == ("failed", "not-proven")


def test_a_configuration_that_is_wrong_while_training_is_told(make_shop: Make) -> None:
    with listening() as listener:
        shop = told_by(make_shop, listener)
        shop.drop("a.jsonl", [1])

        def fail(what: str) -> None:
            raise ConfigError("arguments.x: no")

        shop.backend.tick = fail
        with pytest.raises(ConfigError):
            go(shop)
        assert kinds(listener) == ["failed", "error"]


def test_a_full_disk_is_told(make_shop: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.backend.training import Size

    with listening() as listener:
        shop = told_by(make_shop, listener, '[verify.severity]\n"plan/disk" = "warning"\n')
        monkeypatch.setattr("audit.training.preflight.free_at", lambda path: Size(1, 1))
        shop.backend.checkpoint_size = lambda settings: Size(10**6, 9)  # type: ignore[attr-defined]
        shop.backend.arguments = lambda request: {"save_steps": 1}  # type: ignore[attr-defined]
        shop.drop("a.jsonl", [1, 2])
        assert go(shop) == 0
        assert set(kinds(listener)) == {"disk-short"}
        assert "plan/disk" in listener.told[0]["reason"]


def test_only_what_was_asked_for_is_told(make_shop: Make) -> None:
    with listening() as listener:
        shop = told_by(make_shop, listener, 'events = ["finished"]')
        shop.drop("a.jsonl", [1, 2])
        shop.drop("b.jsonl", [POISON])
        assert go(shop) == 1
        assert kinds(listener) == ["finished"]


@pytest.mark.parametrize("status", [None, 500, 404])
def test_a_server_that_does_not_take_it_changes_nothing_of_the_training(status: int | None, make_shop: Make) -> None:
    with listening(lambda number: status) as listener:
        shop = told_by(make_shop, listener, 'events = ["finished", "batch"]\ntries = 2\ntimeout-seconds = 0.3')
        for number in range(4):
            shop.drop(f"{number}.jsonl", [2 * number, 2 * number + 1])
        started = time.monotonic()
        assert go(shop) == 0
        assert time.monotonic() - started < 20
        assert sorted(shop.trained()) == list(range(8))
        assert shop.names("done") == [f"{number}.jsonl" for number in range(4)]
        notes = [event["text"] for event in shop.said("note")]
        assert notes
        assert all("not told" in note for note in notes)
        assert not any("s3cret" in note or "hush" in note for note in notes)


def test_events_go_on_while_nobody_takes_them_and_the_oldest_are_dropped(
    make_shop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "MOST", 3)
    monkeypatch.setattr(notifying, "SPARE", 0.0)
    with listening(lambda number: None) as listener:
        shop = told_by(make_shop, listener, 'events = ["note"]\ntimeout-seconds = 0.5\ntries = 1')
        config, _ = read_train_config(str(shop.home / "train.toml"), shop.registry)
        notifier = Notifier(config, shop.emit)
        started = time.monotonic()
        for number in range(50):
            notifier.emit(Note(f"{number}"))
        assert time.monotonic() - started < 0.4
        assert any("the oldest of more than 3 events" in event["text"] for event in shop.events)
        notifier.close()
        assert time.monotonic() - started < 5
        assert any("not told: the training has ended" in event["text"] for event in shop.events)


def test_the_last_words_arrive_before_the_call_ends(make_shop: Make) -> None:
    with listening(delay=0.5) as listener:
        shop = told_by(make_shop, listener)
        shop.drop("a.jsonl", [1])
        shop.drop("b.jsonl", [POISON])
        assert go(shop) == 1
        assert kinds(listener) == ["rejected"]
        assert shop.said("note") == []


def test_another_process_of_the_same_training_tells_nothing(make_shop: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with listening() as listener:
        shop = told_by(make_shop, listener)
        shop.drop("b.jsonl", [POISON])
        assert go(shop) == 1
        assert listener.told == []


def test_the_command_line_tells_and_shows_no_secret(
    make_shop: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(lambda number: 404) as listener:
        shop = told_by(make_shop, listener, toy='fail = "it burns"')
        monkeypatch.chdir(shop.home)
        monkeypatch.setattr("audit.cli.train.load", lambda: shop.registry)
        monkeypatch.setattr("audit.training.loop.InChild", InThisProcess)
        shop.drop("a.jsonl", [1])
        assert run_command(["train", "train.toml", "--log-format", "json"]) == 1
        out, err = capsys.readouterr()
        assert kinds(listener) == ["failed", "refused"]
        assert f"http://127.0.0.1:{listener.port} answered 404" in out
        assert "s3cret" not in out + err
        assert "hush" not in out + err
    everything = [path for path in shop.home.rglob("*") if path.is_file() and path.name != "train.toml"]
    assert not any(b"s3cret" in path.read_bytes() for path in everything)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('url = "htps://user:hush@example.org/s3cret"', "notify.url: is not an address"),
        ('url = "s3cret"', "notify.url: is not an address"),
        ("tries = 2", "notify: needs a command or a url"),
        ("command = []", "notify.command"),
        ('command = ["x"]\nevents = ["refusd"]', "did you mean 'refused'"),
    ],
)
def test_a_table_that_says_nothing_is_refused_without_its_secret(table: str, reason: str, make_shop: Make) -> None:
    shop = make_shop(more=f"[notify]\n{table}")
    with pytest.raises(ConfigError, match=reason) as caught:
        read_train_config(str(shop.home / "train.toml"), shop.registry)
    assert "s3cret" not in str(caught.value)


def test_every_event_that_can_be_chosen_is_one_and_steps_are_not(tmp_path: Path) -> None:
    schema: dict[str, Any] = json.loads((files("audit") / "schemas" / "train.json").read_text(encoding="utf-8"))
    known = schema["properties"]["notify"]["properties"]["events"]["items"]["enum"]
    assert set(known) == set(NAMES.values()) - {"step", "phase"}


@pytest.mark.parametrize("event", [Note("x", "a.jsonl"), TrainingRefused("no")])
def test_what_is_told_is_the_event_of_the_log(event: Event) -> None:
    told = document(event, "/srv/run")
    assert {key: told[key] for key in as_json(event)} == as_json(event)
    assert told["run"] == "/srv/run"


def test_a_failure_that_is_retried_is_told_once_each(make_shop: Make) -> None:
    with listening() as listener:
        shop = told_by(make_shop, listener, "[retry]\ntimes = 2\nwait-seconds = 0")
        shop.drop("a.jsonl", [1])
        left = [1]

        def fail(what: str) -> None:
            if left:
                left.pop()
                raise LegFailed("CUDA out of memory", "out-of-memory", 0)

        shop.backend.tick = fail
        assert go(shop) == 0
        assert kinds(listener) == ["failed"]
