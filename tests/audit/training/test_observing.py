"""Plugins hear of what audit train does, and none of them can end it."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import ConfigError
from audit.hookspecs import hookimpl
from audit.manager import load
from audit.options import Options
from audit.training.config import read_train_config
from audit.training.loop import TrainOptions, train
from audit.training.observing import observed
from audit.training.process import here
from tests.audit.training.conftest import Shop

Make = Callable[..., Shop]


class Ear:
    """Hears; raises from the event ``deaf_at`` on."""

    table = "ear"

    def __init__(self, deaf_at: str = "") -> None:
        self.deaf_at = deaf_at
        self.begun: list[Any] = []
        self.heard: list[Mapping[str, Any]] = []

    def schema(self) -> Mapping[str, Any]:
        return {"type": "object", "additionalProperties": False, "properties": {"loud": {"type": "boolean"}}}

    def begin(
        self, run: str, settings: Mapping[str, Any], home: str, options: Options
    ) -> Callable[[Mapping[str, Any]], str | None]:
        if settings.get("loud") is False:
            raise ConfigError("ear.loud: must be true")
        self.begun.append((run, dict(settings), home, options.ignore))
        return self.hear

    def hear(self, event: Mapping[str, Any]) -> str | None:
        self.heard.append(event)
        if event["event"] == self.deaf_at:
            raise ValueError("deaf\nnow")
        return "heard it" if event["event"] == "finished" else None


def go(shop: Shop, ear: Ear) -> int:
    parts = SimpleNamespace(audit_observers=hookimpl(lambda: [ear]))
    backend = SimpleNamespace(audit_training_backends=hookimpl(lambda: [shop.backend]))
    registry = load([parts, backend])
    shop.events = []
    config, trainer = read_train_config(str(shop.home / "train.toml"), registry)
    return observed(
        config, registry, shop.emit, lambda emit: train(config, trainer, registry, emit, TrainOptions(), run_leg=here)
    )


def notes(shop: Shop) -> list[str]:
    return [event["text"] for event in shop.said("note")]


def test_it_hears_of_every_event_and_its_notes_are_shown(make_shop: Make) -> None:
    shop, ear = make_shop(more='[ear]\nloud = true\n[verify]\nignore = ["security/secret"]'), Ear()
    shop.drop("a.jsonl", [1, 2])

    assert go(shop, ear) == 0

    assert ear.begun == [(str(shop.run), {"loud": True}, str(shop.home), ("security/secret",))]
    assert next(item for item in ear.heard if item["event"] == "finished")["checkpoint"] == "checkpoint-1"
    assert [item["event"] for item in ear.heard] == [item["event"] for item in shop.events if item["event"] != "note"]
    assert notes(shop) == ["[ear] heard it"]


def test_without_its_table_it_is_not_asked(make_shop: Make) -> None:
    shop, ear = make_shop(), Ear()
    shop.drop("a.jsonl", [1, 2])

    assert go(shop, ear) == 0
    assert ear.begun == ear.heard == []


def test_what_it_raises_is_a_note_once_and_the_training_goes_on(make_shop: Make) -> None:
    shop, ear = make_shop(more="[ear]"), Ear(deaf_at="batch")
    shop.drop("a.jsonl", [1, 2])

    assert go(shop, ear) == 0

    assert notes(shop) == ["[ear] ValueError: deaf; it hears of nothing more in this call"]
    assert [item["event"] for item in ear.heard].count("batch") == 1
    assert shop.said("finished")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[ear]\nlod = true", "ear.lod: there is no such key; did you mean 'loud'"),
        ("[ear]\nloud = false", "must be true"),
    ],
)
def test_a_bad_table_is_refused_before_anything_is_trained(make_shop: Make, table: str, message: str) -> None:
    shop = make_shop(more=table)

    with pytest.raises(ConfigError, match=message):
        go(shop, Ear())


def test_two_with_one_table_are_refused() -> None:
    twin = SimpleNamespace(audit_observers=hookimpl(lambda: [Ear(), Ear()]))

    with pytest.raises(Exception, match="two plugins provide a table named 'ear'"):
        load([twin])


def test_what_a_schema_cannot_say_is_refused_as_the_configuration_is_read(make_shop: Make) -> None:
    """`audit plan` reads it in the same way, and does not say that it would work."""
    shop = make_shop(more='[hub]\nrepo = "me/one"')

    with pytest.raises(ConfigError, match=r"train\.toml: hub: no template contains \{step\}"):
        read_train_config(str(shop.home / "train.toml"), shop.registry)
