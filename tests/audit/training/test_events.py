"""Every event has one JSON, one rendering and one row in docs/train.md."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import Note, Step
from audit.cli.progress_of_training import json_line, text_of
from audit.training.events import NAMES, Event, as_json, from_json
from tests.audit.training.any_event import any_of

PAGE = Path(__file__).parents[3] / "docs" / "train.md"
SCHEMA = json.loads((files("audit") / "schemas" / "event-1.json").read_text(encoding="utf-8"))
SILENT = {"phase", "step", "refused", "error"}
"""Events without a line of their own: the bar shows the first two, stderr the others."""


def fields_on_the_page() -> dict[str, set[str]]:
    table = PAGE.read_text(encoding="utf-8").partition("| event | fields | when |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {name: set(re.findall(r"`(\w+)`", row[1])) for row in rows for name in re.findall(r"`([a-z-]+)`", row[0])}


def test_every_event_is_named() -> None:
    assert set(NAMES) == set(get_args(Event))


@pytest.mark.parametrize("event", NAMES, ids=NAMES.values())
def test_every_event_has_a_row_in_the_documentation_with_its_fields(event: type[Event]) -> None:
    assert fields_on_the_page()[NAMES[event]] == set(event._fields)


def test_the_documentation_has_no_other_event() -> None:
    assert set(fields_on_the_page()) == set(NAMES.values())


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
@given(data=st.data())
def test_every_event_is_as_the_schema_says(kind: type[Event], data: st.DataObject) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(json.loads(json_line(data.draw(any_of(kind)))))


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
def test_the_schema_has_the_fields_of_every_event_and_no_other(kind: type[Event]) -> None:
    (part,) = (part for part in SCHEMA["oneOf"] if part["properties"]["event"]["const"] == NAMES[kind])
    assert list(part["properties"]) == ["event", *kind._fields]
    assert part["required"] == ["event", *(name for name in kind._fields if name not in kind._field_defaults)]


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
@given(data=st.data())
def test_every_event_is_rendered(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(any_of(kind, **({"kind": "changed"} if NAMES[kind] == "failed" else {})))
    assert (text_of(event) is None) == (NAMES[kind] in SILENT)


@pytest.mark.parametrize(
    ("event", "document"),
    [
        (Step(7), {"event": "step", "step": 7}),
        (
            Step(7, eval_loss=0.5, loss=1.5, file="a.jsonl"),
            {"event": "step", "step": 7, "loss": 1.5, "eval_loss": 0.5, "file": "a.jsonl"},
        ),
        (Note("x"), {"event": "note", "text": "x"}),
    ],
)
def test_what_has_a_default_is_left_out_while_it_is_none(event: Event, document: dict[str, Any]) -> None:
    assert list(as_json(event).items()) == list(document.items())


@given(st.data())
def test_any_other_field_is_always_there(data: st.DataObject) -> None:
    event = data.draw(st.one_of([any_of(kind) for kind in NAMES]))
    required = set(event._fields) - set(event._field_defaults)
    assert required | {"event"} <= set(as_json(event)) <= {"event", *event._fields}


@given(st.data())
def test_an_event_is_read_back_from_its_json(data: st.DataObject) -> None:
    event = data.draw(st.one_of([any_of(kind) for kind in NAMES]))
    assert repr(from_json(json.loads(json_line(event)))) == repr(event)  # as text, since no NaN is like another


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"event": 3},
        {"event": "unheard of"},
        {"event": "retired", "file": "a.jsonl"},
        {"event": "retired", "file": "a.jsonl", "to": 3},
        {"event": "torn", "checkpoint": None},
        {"event": "stopped", "step": 3, "signal": 15, "saved": 1, "reason": None},
        {"event": "stopped", "step": True, "signal": 15, "saved": True, "reason": None},
    ],
)
def test_what_is_not_the_json_of_an_event_is_none(document: dict[str, Any]) -> None:
    assert from_json(document) is None
