"""The shapes of a row: each bad one is named with what is allowed, and its good neighbour is let through."""

import json
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import BadData
from audit.data.row_formats import IGNORED, RowFormat, format_of, kind_of, wrong
from audit.data.rows import inspect

USER, ASSISTANT = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


def write(path: Path, *lines: Any) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return str(path)


def reason(path: str, format: str = "auto") -> str:
    with pytest.raises(BadData) as caught:
        inspect(path, format)
    return f"{caught.value.row}: {caught.value.reason}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{}", "has no key with a value; a row needs text, or messages, or prompt and completion, or input_ids"),
        ('{"Text": "a"}', "has 'Text'; a row needs text, or messages"),
        ('{"prompt": "a"}', "has 'prompt'; a row needs text, or messages"),
        ('{"text": null}', "has no key with a value"),
        ('{"text": "a", "input_ids": [1]}', "has the keys of text and input_ids; set data.format to one of them"),
        ('{"text": 5}', "text is a number; it must be a string"),
        ('{"text": ["a"]}', "text is a list; it must be a string"),
        ('{"text": ""}', "text is empty"),
        ('{"messages": []}', "messages is empty"),
        ('{"messages": "a"}', 'messages is a string; it must be a list of messages, {"role": ..., "content": ...}'),
        ('{"messages": ["a"]}', 'messages[0] is a string; a message is {"role": ..., "content": ...}'),
        ('{"messages": [{"content": "a"}]}', "messages[0] has no role"),
        ('{"messages": [{"role": "", "content": "a"}]}', "messages[0].role is empty"),
        ('{"messages": [{"role": "user"}]}', "messages[0] has no content"),
        ('{"messages": [{"role": "user", "content": 1}]}', "messages[0].content is a number; it must be a string"),
        ('{"messages": [{"role": "user", "content": "a"}], "tools": "b"}', "tools must be a list of JSON Schemas"),
        ('{"prompt": "a", "completion": []}', "must both be strings, or both lists of messages"),
        ('{"prompt": "", "completion": "a"}', "prompt is empty"),
        ('{"prompt": "a", "completion": true}', "completion is true or false; it must be a string"),
        ('{"prompt": [{"role": "user", "content": "a"}], "completion": [{}]}', "completion[0] has no role"),
        ('{"input_ids": []}', "input_ids is empty"),
        ('{"input_ids": 5}', "input_ids is a number; it must be a list of numbers"),
        ('{"input_ids": [1, -1]}', "input_ids[1] is -1; token ids are whole numbers from 0"),
        ('{"input_ids": [1, -100]}', "input_ids[1] is -100; token ids are whole numbers from 0"),
        ('{"input_ids": [1, 2.0]}', "input_ids[1] is 2.0; token ids are whole numbers from 0"),
        ('{"input_ids": [true]}', "input_ids[0] is true; token ids are whole numbers from 0"),
        ('{"input_ids": [1, "2"]}', "input_ids[1] is '2'; token ids are whole numbers from 0"),
        ('{"input_ids": [2147483648]}', "input_ids[0] is 2147483648; token ids are whole numbers from 0"),
        ('{"input_ids": [1, 2], "labels": [1]}', "has 2 input_ids and 1 labels; their numbers must be equal"),
        ('{"input_ids": [1, 2], "labels": [1, -1]}', "labels[1] is -1; labels are token ids, or -100"),
        ('{"messages": [{"role": "user", "content": []}]}', "messages[0].content is empty"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "messages[0].content[0] is a string; a part is"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}]}',
            "messages[0].content[0].type is 'image_url'; only parts of the type \"text\" can be trained on",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "text"}]}]}',
            "messages[0].content[0].text is null; it must be a string",
        ),
        ('{"instruction": "a"}', "has 'instruction'; a row needs text"),
        ('{"instruction": "", "output": "b"}', "instruction is empty"),
        ('{"instruction": "a", "output": ""}', "output is empty"),
        ('{"instruction": "a", "input": 1, "output": "b"}', "input is a number; it must be a string"),
        ('{"instruction": "a", "system": [], "output": "b"}', "system is a list; it must be a string"),
        ('{"instruction": "a", "output": "b", "history": [["c", "d"]]}', "has a history"),
        ('{"instruction": "a", "output": "b", "text": "c"}', "has the keys of text and alpaca; set data.format to one"),
        ('{"conversations": "a"}', 'conversations is a string; it must be a list of {"from": ..., "value": ...}'),
        ('{"conversations": []}', "conversations is empty"),
        ('{"conversations": ["a"]}', 'conversations[0] is a string; a message is {"from": ..., "value": ...}'),
        ('{"conversations": [{"from": "human"}]}', "conversations[0] has 'from'; a message has from and value"),
        ('{"conversations": [{"value": "a"}]}', "conversations[0] has 'value'; a message has from and value"),
        (
            '{"conversations": [{"from": "tool", "value": "a"}]}',
            "conversations[0].from is 'tool'; it must be one of human, user, gpt, assistant, system",
        ),
        ('{"conversations": [{"from": ["human"], "value": "a"}]}', "conversations[0].from is ['human']; it must be"),
        ('{"conversations": [{"from": "human", "value": 1}]}', "conversations[0].value is a number; it must be"),
        (
            '{"system": "a", "conversations": [{"from": "system", "value": "b"}]}',
            "has a system prompt twice, as system and in conversations",
        ),
        ('{"system": 1, "conversations": [{"from": "gpt", "value": "b"}]}', "system is a number"),
    ],
)
def test_a_row_of_no_good_shape_is_named_with_what_is_allowed(line: str, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.loads(line))

    assert reason(path).startswith("1: ")
    assert expected in reason(path)


@pytest.mark.parametrize(
    "row",
    [
        {"text": " "},
        {"text": "a", "id": 7, "source": {"url": None}},
        {"text": "a", "messages": None},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}], "tools": [{}]},
        {"messages": [{"role": "system", "content": ""}, USER]},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": "a", "completion": "b", "labels": "of no meaning here"},
        {"input_ids": [0, 2147483647], "labels": None},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]}]},
        {"instruction": "a", "input": "", "output": "b", "history": []},
        {"instruction": "a", "input": None, "output": "b", "system": "c"},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": ""}], "system": "c"},
        {"conversations": [{"role": "user", "content": "a", "from": None}, {"role": "assistant", "content": "b"}]},
    ],
)
def test_a_good_neighbour_of_a_bad_row_is_let_through(row: dict[str, Any], tmp_path: Path) -> None:
    assert inspect(write(tmp_path / "a.jsonl", row)).count == 1


def test_rows_of_two_formats_in_one_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[{"messages": [USER]}] * 2, {"prompt": "a", "completion": "b"})

    assert reason(path) == "3: has prompt/completion, the rows before have messages"


def test_a_format_that_was_asked_for_settles_what_the_keys_leave_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "messages": [USER]}, {"text": "b", "input_ids": "none"})

    assert inspect(path, "text")[:2] == (2, "text")
    assert reason(path, "messages") == (
        "2: has no messages, which rows of the format messages need; it has 'text', 'input_ids'"
    )


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"text": "a"}, "text"),
        ({"messages": [], "prompt": "only half of a format"}, "messages"),
        ({"prompt": 1, "completion": 2}, "prompt-completion"),
        ({"text": "a", "messages": []}, None),
        ({"completion": "a"}, None),
    ],
)
def test_the_format_is_the_one_whose_keys_are_all_there(row: dict[str, Any], format: str | None) -> None:
    assert format_of(row) == format


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    assert wrong({"text": "\ud800"}, RowFormat.TEXT) == "text contains half of a surrogate pair, which is not text"
    assert wrong({"text": "\U0001f600"}, RowFormat.TEXT) is None


def test_only_minus_100_may_be_negative() -> None:
    row = {"input_ids": [1, 2], "labels": [IGNORED, 2]}

    assert wrong(row, "input_ids") is None
    assert wrong({**row, "labels": [IGNORED - 1, 2]}, "input_ids") is not None
    assert wrong({**row, "labels": [IGNORED + 1, 2]}, "input_ids") is not None


def test_kinds_are_named_as_json_has_them() -> None:
    values = ["", [], {}, True, None, 1, 1.5, b"", ()]

    assert [kind_of(value) for value in values] == [
        "a string", "a list", "an object", "true or false", "null", "a number", "a number", "bytes", "a tuple",
    ]  # fmt: skip
