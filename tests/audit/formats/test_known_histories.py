"""Histories that a state may continue are found by how they begin, without a look at all others."""

from typing import Any

import pytest

from audit.formats.history import History
from audit.formats.known_histories import KnownHistories
from audit.formats.trainer_state import StateDocument, read_trainer_state
from audit.storage import BytesReader
from audit.testing.json_files import trainer_state_text


def log(seed: float, count: int) -> list[dict[str, Any]]:
    return [{"loss": seed + step, "step": step} for step in range(1, count + 1)]


def read(entries: list[dict[str, Any]], known: KnownHistories) -> History:
    found = read_trainer_state(BytesReader(trainer_state_text(9, entries, 9)), known)
    assert isinstance(found, StateDocument)
    assert found.history is not None
    return found.history


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_history_is_found_among_others_that_begin_otherwise(count: int) -> None:
    known = KnownHistories()
    others = [read(log(seed, count), known) for seed in range(5)]
    for history in others:
        known.add(history)

    assert list(known) == others[::-1]
    for seed, history in enumerate(others):
        assert read(log(seed, 31), known).base is history
        known.remove(history)
        assert read(log(seed, 31), known).base is None
    assert list(known) == []


def test_an_empty_history_is_the_beginning_of_what_continues_no_other() -> None:
    known = KnownHistories([History(log(1, 3)), History([])])

    assert read(log(2, 2), known).base is known.empty is not None
    assert len(read(log(1, 4), known).base or ()) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"step": 1, "loss": float("nan")}, {"loss": float("nan"), "step": 1}),
        ({"step": 1, "loss": 2}, {"step": 1.0, "loss": 2.0}),
        ({"step": True}, {"step": 1}),
        ({"step": 1, "more": {"a": [1]}}, {"step": 1, "more": {"a": [1.0]}}),
    ],
)
def test_entries_that_are_taken_for_the_same_are_found(first: dict[str, Any], second: dict[str, Any]) -> None:
    history = History([first])
    assert history.common([second]) == 1

    assert KnownHistories([history]).sharing([second]) == [history]
    assert KnownHistories([history]).sharing([{"step": 2}]) == []


def test_of_a_long_chain_only_the_last_link_is_looked_at() -> None:
    history = History(log(1, 1))
    known = KnownHistories([history])
    for step in range(2, 2000):  # recursion or a walk through all of it would show
        known.remove(history)
        history = History([{"loss": 0.5, "step": step}], history)
        known.add(history)

    assert known.relatives(history) == [history]
    assert all(len(link.kept) == 1 for link in (history, history.base) if link is not None)
