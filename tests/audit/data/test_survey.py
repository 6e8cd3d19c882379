"""How a data file is read: everything is counted, and each format shows what is trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData, ReadExample
from audit.data.survey import SHOWN, Survey, as_written, joined, survey

USER, ASSISTANT = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


def look(path: Path, *rows: Any, format: str = "auto", loss_on: str | None = None) -> Survey:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return survey(str(path), format, as_written(loss_on))


def marked(found: Survey) -> str:
    assert found.first is not None
    return "".join(f"[{text}]" if trained else text for text, trained in found.first.pieces)


@pytest.mark.parametrize(
    ("row", "loss_on", "expected"),
    [
        ({"text": "a b"}, None, "[a b]"),
        ({"prompt": "a", "completion": "b"}, None, "a[b]"),
        ({"prompt": "a", "completion": "b"}, "all", "[a][b]"),
        ({"prompt": [USER], "completion": [ASSISTANT]}, None, "user: 2 + 2?\n[assistant: 4\n]"),
        ({"messages": [USER, ASSISTANT]}, None, "[user: 2 + 2?\nassistant: 4\n]"),
        ({"messages": [USER, ASSISTANT]}, "completion", "user: 2 + 2?\n[assistant: 4\n]"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": []}]}, None, "[user: 2 + 2?\nassistant: \n]"),
        ({"instruction": "a", "input": "b", "output": "c"}, None, "a\n\nb\n\n[c]"),
        ({"instruction": "a", "output": "c", "system": "s"}, None, "s\n\na\n\n[c]"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "completion",
         "user: a\n[assistant: b\n]"),
        ({"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, None, "5 [6 7 ]"),
        ({"input_ids": [5, 6, 7]}, None, "[5 6 7 ]"),
    ],
)  # fmt: skip
def test_a_format_shows_what_is_trained_on(row: Any, loss_on: str | None, expected: str, tmp_path: Path) -> None:
    found = look(tmp_path / "a.jsonl", row, loss_on=loss_on)

    assert marked(found) == expected
    assert (found.rows, found.refused, found.stopped) == (1, 0, None)


@given(
    rows=st.lists(st.sampled_from([{"text": "abc"}, {"text": ""}, {"messages": []}, 7, {}]), min_size=1, max_size=40)
)
def test_every_row_is_counted_once(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    found = look(tmp_path_factory.getbasetemp() / "counted.jsonl", *rows, format="text")

    good = rows.count({"text": "abc"})
    assert (found.rows, found.refused) == (len(rows), len(rows) - good)
    assert len(found.refusals) == min(found.refused, SHOWN)
    assert found.learned == 3 * good
    assert (found.lengths.total if found.lengths else 0) == 3 * good
    assert (found.first is None) == (good == 0)


def test_lengths_are_those_of_all_examples(tmp_path: Path) -> None:
    found = look(tmp_path / "a.jsonl", *({"text": "a" * size} for size in range(1, 101)))

    assert found.lengths == (1, 50, 95, 100, 5050)


def test_a_file_that_ends_early_shows_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "b')

    found = survey(str(tmp_path / "a.json"), "auto", as_written(None))

    assert (found.rows, found.refused) == (1, 0)
    assert found.stopped == "row 2 is truncated: the list ends within it"


@pytest.mark.parametrize("content", [b"", b"[]", b"\x1f\x8b\x08\0", b"["])
def test_a_file_of_which_nothing_can_be_read_is_bad_data(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(BadData):
        survey(str(tmp_path / "a.json"), "auto", as_written(None))


def test_a_row_that_the_backend_refuses_is_one_that_is_refused(tmp_path: Path) -> None:
    def read(number: int, row: Any, format: str) -> ReadExample:
        if number == 2:
            raise BadData("a", 2, "too short")
        return ReadExample(4, 3, number == 3, lambda: ((row["text"], True),))

    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 3)

    found = survey(str(tmp_path / "a.jsonl"), "auto", read)

    assert (found.rows, found.refusals, found.cut, found.learned) == (3, ((2, "too short"),), 1, 6)


def test_neighbours_of_one_kind_are_one_piece() -> None:
    assert joined([("a", True), ("b", True), ("c", False), ("d", True)]) == (("ab", True), ("c", False), ("d", True))
    assert joined([]) == ()
