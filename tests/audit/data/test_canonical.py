"""What several formats write differently comes in one shape."""

from typing import Any

import pytest

from audit.data.canonical import canonical
from audit.data.row_formats import wrong

USER, ASSISTANT = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
ASKED, ANSWERED = {"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}
PARTS = [{"type": "text", "text": "2 +"}, {"type": "text", "text": " 2?", "image_url": None}]


@pytest.mark.parametrize(
    ("row", "format", "expected"),
    [
        ({"messages": [{**USER, "content": PARTS}, ASSISTANT]}, "messages", {"messages": [USER, ASSISTANT]}),
        (
            {"prompt": [{**USER, "content": PARTS}], "completion": [ASSISTANT]},
            "prompt-completion",
            {"prompt": [USER], "completion": [ASSISTANT]},
        ),
        ({"prompt": "a", "completion": "b"}, "prompt-completion", {"prompt": "a", "completion": "b"}),
        ({"conversations": [ASKED, ANSWERED], "id": 7}, "sharegpt", {"messages": [USER, ASSISTANT]}),
        (
            {"conversations": [USER, ASSISTANT], "tools": [{}]},
            "sharegpt",
            {"messages": [USER, ASSISTANT], "tools": [{}]},
        ),
        (
            {"conversations": [ASKED], "system": "Be brief."},
            "sharegpt",
            {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        ),
        ({"text": "a", "id": 7, "input": "b", "labels": "c"}, "text", {"text": "a"}),
        (
            {"instruction": "a", "input": "", "output": "b", "history": []},
            "alpaca",
            {"instruction": "a", "output": "b"},
        ),
        ({"input_ids": [1, 2], "labels": [-100, 2], "id": 7}, "input_ids", {"input_ids": [1, 2], "labels": [-100, 2]}),
    ],
)
def test_a_row_comes_in_one_shape(row: dict[str, Any], format: str, expected: dict[str, Any]) -> None:
    assert wrong(row, format) is None
    assert canonical(row, format) == expected
