import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage
from audit.formats.trainer_state import History, StateDocument, read_trainer_state
from audit.storage import BytesReader
from audit.testing.json_files import state_bytes, trainer_state_text
from tests.examples import examples


def entries(count: int, loss: float = 1.5) -> list[dict[str, Any]]:
    return [{"epoch": 0.1, "loss": loss, "note": "\n  ]", "step": number} for number in range(1, count + 1)]


def read(data: bytes, *known: History) -> StateDocument:
    found = read_trainer_state(BytesReader(data), known)
    assert isinstance(found, StateDocument), found
    return found


def history(data: bytes, *known: History) -> History:
    found = read(data, *known).history
    assert found is not None
    return found


def unsorted(data: bytes) -> bytes:
    return json.dumps(json.loads(data)).encode()


def test_what_was_written_is_read() -> None:
    found = read(trainer_state_text(30, entries(3), 100, best_metric=0.5, trial_name="x"))
    assert found.problems == ()
    assert found.unknown_keys == ()
    assert found.state is not None
    assert (found.state.global_step, found.state.max_steps, found.state.best_metric) == (30, 100, 0.5)
    assert found.history is not None
    assert list(found.history) == found.history.fresh == entries(3)
    assert "log_history" not in found.document


@pytest.mark.parametrize("layout", [bytes, unsorted])
@pytest.mark.parametrize("later", [bytes, unsorted])
def test_a_history_that_goes_on_has_the_earlier_one_as_its_base(layout: Any, later: Any) -> None:
    first = history(layout(trainer_state_text(3, entries(3), 9)))
    second = history(later(trainer_state_text(5, entries(5), 9)), first)
    assert second.base is first
    assert second.fresh == entries(5)[3:]
    assert list(second) == entries(5)
    assert (len(second), second.base_count) == (5, 3)
    assert second.last == entries(5)[-1]


def test_a_chain_of_histories_gives_all_entries_in_order() -> None:
    head: tuple[History, ...] = ()
    for count in range(200, 2000, 200):
        head = (history(trainer_state_text(count, entries(count), 9000), *head),)
    assert list(head[0]) == entries(1800)
    assert len(head[0].fresh) == 200


def test_an_unchanged_history_is_its_own_beginning() -> None:
    first = history(trainer_state_text(3, entries(3), 9))
    second = history(trainer_state_text(4, entries(3), 9), first)
    assert second.base is first
    assert second.fresh == []


def test_the_longest_known_beginning_is_taken() -> None:
    known = [history(trainer_state_text(count, entries(count), 9)) for count in (1, 4, 2)]
    assert history(trainer_state_text(6, entries(6), 9), *known).base is known[1]


def test_a_different_history_has_no_base() -> None:
    first = history(trainer_state_text(3, entries(3), 9))
    changed = entries(5)
    changed[1]["loss"] = 9.0
    assert history(trainer_state_text(5, changed, 9), first).base is None


def test_a_history_that_lost_its_last_entry_has_no_base() -> None:
    first = history(trainer_state_text(3, entries(3), 9))
    assert history(trainer_state_text(3, entries(2), 9), first).base is None


def test_every_history_begins_with_an_empty_one() -> None:
    first = history(trainer_state_text(1, [], 9))
    assert history(trainer_state_text(5, entries(5), 9), first).base is first


@pytest.mark.parametrize("layout", [bytes, unsorted])
def test_nan_is_the_same_as_nan(layout: Any) -> None:
    nan = float("nan")
    first = history(layout(trainer_state_text(2, entries(2, nan), 9)))
    assert history(trainer_state_text(3, entries(3, nan), 9), first).base is first


def test_large_histories_with_and_without_nan_are_read() -> None:
    for loss in (1.5, float("nan")):
        data = trainer_state_text(20_000, entries(20_000, loss), 30_000)
        assert len(data) > 1 << 20
        assert len(history(data)) == 20_000


def test_a_second_log_history_is_the_one_that_counts() -> None:
    data = trainer_state_text(3, entries(3), 9)
    twice = data.replace(b'\n  "logging_steps"', b'\n  "log_history": [],\n  "logging_steps"')
    assert list(history(twice)) == []


def test_a_nested_log_history_is_not_taken_for_the_real_one() -> None:
    document = {"aa": {"log_history": 1}, "global_step": 1, "log_history": entries(2)}
    data = (
        json.dumps(document, indent=1).replace('\n  "log_history": 1', '\n  "log_history": [{"step": 7}\n  ]').encode()
    )
    assert list(history(data)) == entries(2)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"global_step": -1}, "global_step is -1, not a non-negative integer."),
        ({"global_step": True}, "global_step is True, not a non-negative integer."),
        ({"global_step": "9" * 100}, "..., not a non-negative integer."),
        ({"max_steps": 1.5}, "max_steps is 1.5, not an integer."),
        ({"max_steps": None}, "max_steps is null"),
        ({"epoch": "x"}, "epoch is 'x', not a number."),
        ({"train_batch_size": None}, "train_batch_size is null"),
        ({"best_model_checkpoint": 3}, "best_model_checkpoint is 3, not a path."),
        ({"stateful_callbacks": []}, "stateful_callbacks is a list, not an object."),
        ({"log_history": {}}, "log_history is not a list."),
        ({"log_history": [1]}, "An entry of log_history is not an object."),
        ({"log_history": [{"step": 1}, {"step": None}]}, "Entry 1 of log_history has no step"),
    ],
)
def test_each_problem_is_said_and_leaves_no_state(changes: Any, problem: Any) -> None:
    found = read(state_bytes({**json.loads(trainer_state_text(3, entries(3), 9)), **changes}))
    assert found.state is None
    assert any(problem in each for each in found.problems), found.problems


def test_a_problem_of_an_earlier_history_stands_in_the_later_one() -> None:
    wrong = [{"loss": 1.0}, *entries(3)]
    first = read(trainer_state_text(3, wrong, 9))
    assert first.history is not None
    second = read(trainer_state_text(4, [*wrong, {"step": 4}], 9), first.history)
    assert second.problems == first.problems != ()


@pytest.mark.parametrize("missing", ["global_step", "log_history"])
def test_a_missing_key_is_a_problem(missing: Any) -> None:
    document = json.loads(trainer_state_text(3, entries(3), 9))
    del document[missing]
    assert read(state_bytes(document)).problems == (f"{missing} is missing.",)


def test_a_document_that_is_no_object_is_a_problem() -> None:
    assert read(b"[1]").problems == ("It is not a JSON object.",)


def test_old_and_foreign_keys_are_told_apart() -> None:
    document = json.loads(trainer_state_text(3, entries(3), 9, train_batch_size=None, episode=4, surprise=1))
    for name in ("best_global_step", "stateful_callbacks", "logging_steps", "eval_steps", "save_steps"):
        del document[name]
    found = read(state_bytes(document))
    assert found.problems == ()
    assert found.unknown_keys == ("surprise",)


SOUND = trainer_state_text(3, entries(3), 9)


@given(st.data())
@examples(300)
def test_damaged_bytes_never_raise(data: Any) -> None:
    first = history(trainer_state_text(2, entries(2), 9))
    raw = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for piece in (bytes(raw), bytes(raw[:cut])):
        assert isinstance(read_trainer_state(BytesReader(piece), (first,)), StateDocument | Damage)


@pytest.mark.parametrize("end", range(0, len(SOUND) - 2, 7))
def test_a_cut_state_is_damaged(end: Any) -> None:
    assert isinstance(read_trainer_state(BytesReader(SOUND[:end])), Damage)
