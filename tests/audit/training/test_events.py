"""Every event has one JSON, one rendering and one row in docs/train.md; a message of a child is one of them or none."""

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData, LegFailed, LegResult, Note, Phase, Progress, Step
from audit.cli.progress_of_training import json_line, text_of
from audit.errors import AuditError, ConfigError
from audit.training.events import NAMES, Event, Message, as_json, checked, from_json, message_line, read_message
from tests.audit.training.any_event import any_of

PAGE = Path(__file__).parents[3] / "docs" / "train.md"
SILENT = {"phase", "step", "refused", "error"}
"""Events without a line of their own: the bar shows the first two, stderr the others."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=5,
)
KEYS = (
    "step",
    "loss",
    "text",
    "kind",
    "path",
    "row",
    "reason",
    "how",
    "first_step",
    "last_step",
    "losses",
    "stopped_by",
)


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


def test_what_is_no_event_is_a_fault_of_the_backend() -> None:
    with pytest.raises(TypeError, match="dict is no event of audit train; a backend tells a Step, a Phase or a Note"):
        checked({"event": "step", "step": 7})  # type: ignore[arg-type]


# -- Messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Step(3),
        Step(3, 1.5, 1e-4, 0.25, 2.0),
        Phase("loading the model"),
        Note("café \ud800"),
        LegResult(3, 7, ((4, 1.5), (7, -math.inf)), None),
        LegResult(0, 1, (), 15),
    ],
)
def test_a_message_comes_through_as_it_was(message: Message) -> None:
    assert read_message(message_line(message).encode()) == message


@pytest.mark.parametrize(
    "error",
    [
        BadData("a.jsonl", 3, "is bad"),
        BadData("a.jsonl", None, "is bad"),
        LegFailed("it burns", "out-of-memory", 5),
        LegFailed("it burns"),
        ConfigError("arguments.lr: no"),
        AuditError("not installed"),
    ],
    ids=["data", "data-without-row", "failed", "failed-somewhere", "config", "audit"],
)
def test_an_error_comes_through_as_it_was(error: AuditError) -> None:
    found = read_message(message_line(error).encode())
    assert type(found) is type(error)
    assert (vars(found), str(found)) == (vars(error), str(error))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        b"3",
        b'"text"',
        b"null",
        b"{}",
        b'{"event": "unheard of"}',
        b'{"event": ["step"], "step": 1}',
        b'{"event": "step", "steps": 1}',
        b'{"event": "step", "step": true}',
        b'{"event": "step", "step": 1e3}',
        b'{"event": "step", "step": 9007199254740992}',
        b'{"event": "phase", "text": null}',
        b'{"event": "note"}',
    ],
)
def test_what_is_no_message_is_none(line: bytes) -> None:
    assert read_message(line) is None


@pytest.mark.parametrize("value", ["1.5", None, True, [1.5], {}, 10**400])
def test_what_is_no_number_is_left_out_of_a_step(value: Any) -> None:
    assert checked(Step(7, loss=value, grad_norm=2)) == Step(7, grad_norm=2)


@pytest.mark.parametrize("event", [Step("7"), Phase(None), Note(b"x")])  # type: ignore[arg-type]
def test_a_value_of_another_type_is_passed_over(event: Progress) -> None:
    assert checked(event) is None


@given(st.sampled_from(["result", "error", "step", "phase", "note"]), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_whatever_is_in_the_pipe_is_read(event: str, rest: dict[str, Any]) -> None:
    found = read_message(json.dumps({**rest, "event": event}).encode())
    if event in ("result", "error"):
        assert isinstance(found, LegResult | AuditError)
    else:
        assert found is None or isinstance(found, Step | Phase | Note)
