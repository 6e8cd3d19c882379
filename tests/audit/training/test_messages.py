"""What comes through the pipe of a child process is a message as it was sent, or nothing."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.rehearsal import Arrival, Compared, Rehearsal, Replayed
from audit.backend.training import BadData, LegFailed, LegResult, Note, Phase, Progress, Step
from audit.errors import AuditError, ConfigError
from audit.training.messages import Logged, Message, checked, message_line, read_message

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


def test_what_is_no_event_is_a_fault_of_the_backend() -> None:
    with pytest.raises(
        TypeError, match="dict is not an event of audit train; a backend reports a Step, a Phase or a Note"
    ):
        checked({"event": "step", "step": 7})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "message",
    [
        Step(3),
        Step(3, 1.5, 1e-4, 0.25, 2.0),
        Phase("loading the model"),
        Note("café \ud800"),
        LegResult(3, 7, ((4, 1.5), (7, -math.inf)), None),
        LegResult(0, 1, (), 15),
        Logged({}),
        Logged({"wandb": "OSError: no"}),
        Rehearsal(()),
        Rehearsal(
            (Compared("weights", 4, 1, "lm_head", 1e-9), Compared("random states", missed="there is none")),
            (Replayed(4, 1.5, -math.inf, 1e-3, (0, 7)), Replayed(5)),
            (Arrival(5, (Compared("weights", 4),)),),
            "bfloat16",
            "cuda",
            True,
            1.5,
            2.5,
        ),
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
