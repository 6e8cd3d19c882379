"""Data files as examples: which tokens are learned, in which order they come, and that nothing is left behind."""

import errno
import json
import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import BadData, LegData, LegFailed
from audit.errors import AuditError, ConfigError
from tests.backends.hf_trainer.letters import MARKED, PLAIN, VOCABULARY, learned, letters

pytest.importorskip("datasets", reason="the extra hf is not installed")
pytest.importorskip("transformers", reason="the extra hf is not installed")

import datasets

from audit_hf_trainer.training import data as module
from audit_hf_trainer.training.data import collate, examples, order_of, ordered, padded
from audit_hf_trainer.training.tokens import ALPACA, ALPACA_WITH_INPUT

USER, ASSISTANT = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
ASKED = "<|start|>user\n2+2?<|end|>\n<|start|>assistant\n"
GOLDEN = [9, 2, 4, 8, 10, 1, 5, 0, 11, 7, 6, 3]
TALK = [USER, ASSISTANT, USER, ASSISTANT]


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def made(tmp_path: Path, *rows: Any, tokenizer: Any = None, **options: Any) -> list[str]:
    """Return the texts of the examples, brackets around what is learned."""
    path = write(tmp_path / "a.jsonl", *rows)
    tokenizer = tokenizer or letters()
    found = examples(LegData(path, options=options), tokenizer, VOCABULARY, str(tmp_path / "scratch"))
    return [learned(tokenizer, found[index]) for index in range(len(found))]


def refused(
    tmp_path: Path, *rows: Any, error: type[AuditError] = BadData, tokenizer: Any = None, **options: Any
) -> str:
    with pytest.raises(AuditError) as caught:
        made(tmp_path, *rows, tokenizer=tokenizer, **options)
    assert type(caught.value) is error
    assert os.listdir(tmp_path / "scratch") == []
    return f"{caught.value.row}: {caught.value.reason}" if isinstance(caught.value, BadData) else str(caught.value)


class Numbers(list[dict[str, list[int]]]):
    """Examples that are their own number."""

    def __init__(self, count: int) -> None:
        super().__init__({"input_ids": [number], "labels": [number]} for number in range(count))


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ({"text": "the end"}, {}, "[the end<|end|>]"),
        ({"text": "the end<|end|>"}, {}, "[the end<|end|>]"),
        ({"prompt": "2+2 is ", "completion": "4"}, {}, "2+2 is [4<|end|>]"),
        ({"prompt": "2+2 is ", "completion": "4"}, {"loss_on": "completion"}, "2+2 is [4<|end|>]"),
        ({"prompt": "2+2 is ", "completion": "4"}, {"loss_on": "all"}, "[2+2 is 4<|end|>]"),
        ({"prompt": "2+2=", "completion": "4"}, {}, "2+2[=4<|end|>]"),  # one token takes in letters of both
        ({"prompt": "2+2=", "completion": "5"}, {}, "2+2=[5<|end|>]"),
        ({"prompt": [USER], "completion": [ASSISTANT]}, {}, f"{ASKED}[4<|end|>\n]"),
        ({"prompt": [USER], "completion": [ASSISTANT]}, {"loss_on": "all"}, f"[{ASKED}4<|end|>\n]"),
        ({"prompt": [USER], "completion": [ASSISTANT, *TALK]}, {}, f"{ASKED}[4<|end|>\n" + f"{ASKED}4<|end|>\n" * 2 + "]"),
        ({"messages": TALK}, {}, "[" + f"{ASKED}4<|end|>\n" * 2 + "]"),
        ({"messages": TALK}, {"loss_on": "all"}, "[" + f"{ASKED}4<|end|>\n" * 2 + "]"),
        ({"messages": TALK}, {"loss_on": "completion"}, f"{ASKED}4<|end|>\n{ASKED}[4<|end|>\n]"),
        (
            {"messages": [USER, ASSISTANT, USER]},
            {"loss_on": "completion"},
            f"{ASKED}[4<|end|>\n]<|start|>user\n2+2?<|end|>\n",
        ),
        ({"messages": [ASSISTANT]}, {"loss_on": "completion"}, "[<|start|>assistant\n4<|end|>\n]"),
        ({"messages": [{**USER, "content": [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]}, ASSISTANT]},
         {"loss_on": "completion"}, f"{ASKED}[4<|end|>\n]"),
        ({"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}, {},
         f"[{ASKED}4<|end|>\n]"),
        ({"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
         {"loss_on": "completion"}, f"{ASKED}[4<|end|>\n]"),
        ({"instruction": "2+2?", "output": "4"}, {}, f"{ASKED}[4<|end|>\n]"),
        ({"instruction": "2+2?", "input": "", "output": "4"}, {"loss_on": "all"}, f"[{ASKED}4<|end|>\n]"),
        ({"instruction": "Add.", "input": "2+2", "output": "4"}, {},
         "<|start|>user\nAdd.\n\n2+2<|end|>\n<|start|>assistant\n[4<|end|>\n]"),
        ({"instruction": "2+2?", "output": "4", "system": "the"}, {}, f"<|start|>system\nthe<|end|>\n{ASKED}[4<|end|>\n]"),
    ],
)  # fmt: skip
def test_each_format_is_learned_where_it_should_be(
    row: dict[str, Any], options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert made(tmp_path, row, **options) == [expected]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, f"{ALPACA}\n\n### Instruction:\nAdd.\n\n### Response:\n[4<|end|>]"),
        (
            {"input": "2+2"},
            f"{ALPACA_WITH_INPUT}\n\n### Instruction:\nAdd.\n\n### Input:\n2+2\n\n### Response:\n[4<|end|>]",
        ),
        ({"system": "Be brief."}, "Be brief.\n\n### Instruction:\nAdd.\n\n### Response:\n[4<|end|>]"),
    ],
)
def test_alpaca_without_a_chat_template_is_written_as_stanford_did(
    more: dict[str, str], expected: str, tmp_path: Path
) -> None:
    row = {"instruction": "Add.", "output": "4", **more}

    assert made(tmp_path, row, tokenizer=letters(None)) == [expected]


def test_a_template_that_marks_what_the_assistant_wrote_has_every_answer_learned(tmp_path: Path) -> None:
    found = made(tmp_path, {"messages": TALK}, tokenizer=letters(MARKED), loss_on="completion")

    assert found == [f"{ASKED}[4<|end|>]\n" * 2]


def test_a_template_that_asks_for_a_thought_has_the_whole_answer_learned(tmp_path: Path) -> None:
    thinking = PLAIN.replace("assistant\n{%", "assistant\n<think>{%")

    found = made(tmp_path, {"messages": [USER, ASSISTANT]}, tokenizer=letters(thinking), loss_on="completion")

    assert found == [f"{ASKED}[4<|end|>\n]"]


def test_tools_reach_the_template(tmp_path: Path) -> None:
    template = "{{ tools[0]['name'] }} " + PLAIN
    row = {"messages": [USER, ASSISTANT], "tools": [{"name": "add"}]}

    assert made(tmp_path, row, tokenizer=letters(template)) == [f"[add {ASKED}4<|end|>\n]"]
    assert made(tmp_path, row, tokenizer=letters(template), loss_on="completion") == [f"add {ASKED}[4<|end|>\n]"]


def test_a_message_with_null_is_as_one_without(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.keys() | list }}{% endfor %}"
    rows = [{"messages": [{**USER, "name": None}]}, {"messages": [USER]}]

    first, second = made(tmp_path, *rows, tokenizer=letters(template))

    assert first == second


def test_a_tokenizer_without_an_end_token_ends_nothing(tmp_path: Path) -> None:
    assert made(tmp_path, {"text": "the"}, tokenizer=letters(eos_token=None)) == ["[the]"]


def test_what_is_too_long_loses_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "abcdef"}, {"text": "ab"}, {"text": "abcd"})
    tokenizer = letters()

    found = examples(LegData(path, options={"max_length": 4}), tokenizer, VOCABULARY, str(tmp_path))

    assert [learned(tokenizer, found[index]) for index in range(3)] == ["[abcd]", "[ab<|end|>]", "[abcd]"]
    assert found.cut == 2


@pytest.mark.parametrize(
    ("chosen", "positions", "of_tokenizer", "length"),
    [(None, None, 10**30, 41), (None, 8, 10**30, 8), (None, 8, 6, 6), (7, 8, 6, 7), (None, None, 6, 6), (50, None, 6, 41)],
)  # fmt: skip
def test_the_limit_is_the_users_or_the_smallest_known(
    chosen: int | None, positions: int | None, of_tokenizer: int, length: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "x" * 40})
    tokenizer = letters(model_max_length=of_tokenizer)

    found = examples(LegData(path, options={"max_length": chosen}), tokenizer, None, str(tmp_path), positions)

    assert len(found[0]["input_ids"]) == length


def test_input_ids_need_no_tokenizer(tmp_path: Path) -> None:
    rows = [{"input_ids": [5, 6, 7]}, {"input_ids": [5, 6, 7], "labels": [-100, -100, 9]}]
    path = write(tmp_path / "a.jsonl", *rows)

    found = examples(LegData(path), None, 10, str(tmp_path / "scratch"))

    assert [found[0], found[1]] == [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, rows[1]]


def test_parquet_and_lines_make_the_same_examples(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    rows = [{"messages": TALK[:2]}, {"messages": [{**USER, "name": "Ann"}, ASSISTANT]}]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "a.parquet")
    sources = [str(tmp_path / "a.parquet"), write(tmp_path / "a.jsonl", *rows)]

    one, other = (examples(LegData(path), letters(), VOCABULARY, str(tmp_path)) for path in sources)

    assert [one[index] for index in range(2)] == [other[index] for index in range(2)]


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ({"text": 5}, {}, "2: text is a number; it must be a string"),
        ({"input_ids": [1, 2, 300]}, {"format": "auto"}, "2: has input_ids, the rows before have text"),
        ({"text": "ab"}, {"max_length": 2, "first": {"text": "abc"}}, None),
    ],
)
def test_the_second_row_is_checked_as_the_first_one(
    row: dict[str, Any], options: dict[str, Any], expected: str | None, tmp_path: Path
) -> None:
    first = options.pop("first", {"text": "the first"})
    if expected is None:
        assert len(made(tmp_path, first, row, **options)) == 2
    else:
        assert refused(tmp_path, first, row, **options) == expected


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ({"input_ids": [1]}, {}, "1: makes 1 token; an example needs 2, one to predict the other"),
        ({"input_ids": [1, 300]}, {}, "1: has the id 300; the model's vocabulary has 300, from 0"),
        ({"input_ids": [1, 2], "labels": [1, 300]}, {}, "1: has the id 300; the model's vocabulary has 300, from 0"),
        (
            {"input_ids": [1, 2], "labels": [1, -100]},
            {},
            "1: has no token that is learned: all labels after the first are -100",
        ),
        (
            {"input_ids": [1, 2, 3], "labels": [-100, -100, 3]},
            {"max_length": 2},
            "1: has nothing to learn within its first 2 tokens; raise data.max_length or shorten it",
        ),
        (
            {"prompt": "long prompt", "completion": "4"},
            {"max_length": 5},
            "1: has nothing to learn within its first 5 tokens; raise data.max_length or shorten it",
        ),
        (
            {"messages": [USER]},
            {"loss_on": "completion"},
            "1: has no message of the assistant, and the loss is on completions (data.loss_on)",
        ),
        (
            {"input_ids": [1, 2]},
            {"loss_on": "completion"},
            "1: has no labels, and the loss is on completions (data.loss_on)",
        ),
    ],
)
def test_a_row_that_cannot_be_trained_is_named(
    row: dict[str, Any], options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, row, **options) == expected


OF_ALL = "can be trained with this configuration (data.loss_on, data.max_length, chat template): "


@pytest.mark.parametrize("count", [1, 3])
def test_a_template_that_marks_no_generation_is_a_fault_of_the_configuration(count: int, tmp_path: Path) -> None:
    tokenizer = letters(PLAIN + "{% generation %}{% endgeneration %}")
    rows = [{"messages": TALK}] * count

    assert refused(tmp_path, *rows, error=ConfigError, tokenizer=tokenizer, loss_on="completion") == (
        f"data: no row {OF_ALL}has no token that is learned: all labels after the first are -100"
    )


def test_what_every_row_of_a_file_lacks_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    rows = [{"prompt": f"a long prompt {number}", "completion": "4"} for number in range(120)]

    assert refused(tmp_path, *rows, error=ConfigError, max_length=5) == (
        f"data: none of the first 100 rows {OF_ALL}has nothing to learn within its first 5 tokens; "
        "raise data.max_length or shorten it"
    )
    assert refused(tmp_path, *rows[:2], error=ConfigError, max_length=5).startswith("data: none of the first 2 rows ")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_bad_row_among_others_is_a_fault_of_the_file(number: int, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "4"}] * 3
    rows[number - 1] = {"prompt": "a long prompt", "completion": "4"}

    assert refused(tmp_path, *rows, max_length=5).startswith(f"{number}: has nothing to learn")


def test_completions_of_plain_texts_are_a_fault_of_the_configuration(tmp_path: Path) -> None:
    assert refused(tmp_path, {"text": "the"}, error=ConfigError, loss_on="completion") == (
        'data.loss_on: "completion" is not for rows of the format text: they have no completion'
    )


def test_a_text_of_one_token_is_too_short_where_nothing_ends_it(tmp_path: Path) -> None:
    assert refused(tmp_path, {"text": "a"}, tokenizer=letters(eos_token=None)).startswith("1: makes 1 token;")


def test_a_row_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    template = "{% if messages | length > 2 %}{{ raise_exception('roles must alternate') }}{% endif %}" + PLAIN
    rows = [{"messages": TALK[:2]}, {"messages": TALK}]

    assert refused(tmp_path, *rows, tokenizer=letters(template)) == (
        "2: the tokenizer or its chat template refuses it: roles must alternate"
    )


def test_a_template_that_writes_a_beginning_otherwise_cannot_tell_completions(tmp_path: Path) -> None:
    tokenizer = letters("{{ messages | length }}" + PLAIN)
    row = {"messages": [USER, ASSISTANT]}

    assert 'set data.loss_on = "all" or use a template with' in refused(
        tmp_path, row, error=ConfigError, tokenizer=tokenizer, loss_on="completion"
    )
    assert made(tmp_path, row, tokenizer=tokenizer, loss_on="all") == [f"[2{ASKED}4<|end|>\n]"]


@pytest.mark.parametrize(
    ("row", "tokenizer", "options", "expected"),
    [
        ({"messages": [USER]}, {"template": None}, {}, "data.format: messages need a chat template, and the tokenizer"),
        ({"messages": [USER]}, {"template": "{% for %}"}, {}, "the tokenizer's chat template is not valid: "),
        ({"text": "the"}, {}, {"max_length": 1}, "data.max_length: 1 is too short: an example needs 2 tokens"),
        (
            {"text": "the"},
            {},
            {"format": "text", "loss_on": "completion"},
            'data.loss_on: "completion" is not for rows',
        ),
    ],
)
def test_what_no_other_row_would_mend_is_a_fault_of_the_configuration(
    row: dict[str, Any], tokenizer: dict[str, Any], options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()

    found = refused(tmp_path, row, error=ConfigError, tokenizer=letters(**tokenizer), **options)

    assert found.startswith(expected)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("tokenizer", "vocabulary", "options", "expected"),
    [
        (
            False,
            300,
            {},
            "data.format: rows of the format text need a tokenizer, and the model has none: set model.tok",
        ),
        (True, 100, {}, "the tokenizer makes the id 259, and the model's vocabulary has 100"),
        (True, 300, {"max_length": 9}, "data.max_length: 9 is more than the model's 8 positions"),
    ],
)
def test_a_model_that_does_not_go_with_the_data_is_said_to_be_so(
    tokenizer: bool, vocabulary: int, options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "the"})

    with pytest.raises(ConfigError) as caught:
        examples(LegData(path, options=options), letters() if tokenizer else None, vocabulary, str(tmp_path), 8)

    assert str(caught.value).startswith(expected)


def test_the_files_go_with_the_examples_and_nothing_else_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write(tmp_path / "a.jsonl", {"text": "the"})
    scratch = tmp_path / "scratch"

    first, second = (examples(LegData(path), letters(), VOCABULARY, str(scratch)) for _ in range(2))
    assert len(os.listdir(scratch)) == 2
    first.close()
    assert len(os.listdir(scratch)) == 1
    assert learned(letters(), second[0]) == "[the<|end|>]"
    del second

    assert os.listdir(scratch) == []
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "scratch"]
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_left_as_they_were(shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_DATASETS_DISABLE_PROGRESS_BARS", raising=False)
    before = datasets.are_progress_bars_disabled()
    try:
        (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
        made(tmp_path, {"text": "the"})
        assert datasets.are_progress_bars_disabled() is not shown
    finally:
        (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()


def test_another_process_reads_the_examples_and_leaves_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"input_ids": [5, 6]}, {"input_ids": [7, 8]})
    leg = LegData(path, order="x", epochs=3, first=1)
    mine = padded(ordered(examples(leg, None, None, str(tmp_path / "scratch")), leg), 4)
    (tmp_path / "pickled").write_bytes(pickle.dumps(mine))
    read = (
        "import pickle, sys; found = pickle.load(open(sys.argv[1], 'rb')); print([found[i] for i in range(len(found))])"
    )

    out = subprocess.run(
        [sys.executable, "-c", read, str(tmp_path / "pickled")], capture_output=True, text=True, check=True
    )

    assert out.stdout.strip() == str([mine[index] for index in range(8)])


def test_a_full_disk_is_said_to_be_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*unused: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, "write", full)
    path = write(tmp_path / "a.jsonl", {"input_ids": [5, 6]})

    with pytest.raises(LegFailed, match="the disk is full") as caught:
        examples(LegData(path), None, None, str(tmp_path / "scratch"))
    assert caught.value.kind == "disk-full"
    assert os.listdir(tmp_path / "scratch") == []


def test_a_fault_of_the_program_is_not_blamed_on_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*unused: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(module, "given", exhausted)
    path = write(tmp_path / "a.jsonl", {"input_ids": [5, 6]})

    with pytest.raises(MemoryError):
        examples(LegData(path), None, None, str(tmp_path / "scratch"))
    assert os.listdir(tmp_path / "scratch") == []


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"input_ids": [5, 6]})
    scratch = tmp_path.joinpath(*["a" * 200] * 5)

    assert len(examples(LegData(path), None, None, str(scratch))) == 1


@given(count=st.integers(1, 30), epochs=st.integers(1, 4), first=st.integers(0, 130), order=st.none() | st.text())
def test_a_leg_that_begins_later_trains_the_rest_and_each_row_comes_once_an_epoch(
    count: int, epochs: int, first: int, order: str | None
) -> None:
    leg = LegData("", order, epochs)
    whole = ordered(Numbers(count), leg)
    rest = ordered(Numbers(count), leg._replace(first=first))

    rows = [whole.row(index) for index in range(len(whole))]

    assert [rest.row(index) for index in range(len(rest))] == rows[first:]
    for epoch in range(epochs):
        assert Counter(rows[epoch * count : (epoch + 1) * count]) == Counter(range(count))
    if order is None:
        assert rows == list(range(count)) * epochs


@given(count=st.integers(1, 20), data=st.data())
def test_the_order_does_not_depend_on_what_was_asked_before(count: int, data: st.DataObject) -> None:
    whole = ordered(Numbers(count), LegData("", "x", 5))
    rows = [whole.row(index) for index in range(len(whole))]

    for index in data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)):
        assert whole.row(index) == rows[index]


def test_the_order_is_the_one_that_it_was_in_every_version_before() -> None:
    assert list(order_of("42:0123abcd:0", 12)) == GOLDEN
    assert list(order_of("42:0123abcd:1", 12)) != GOLDEN


def test_every_order_is_as_likely_as_any_other() -> None:
    seen = Counter(tuple(order_of(str(number), 3)) for number in range(6000))

    assert len(seen) == 6
    assert all(850 < times < 1150 for times in seen.values())


def test_the_order_leaves_the_random_numbers_of_the_program_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    order_of("x", 100)

    assert random.random() == expected


@pytest.mark.parametrize("index", [-1, 6])
def test_what_is_beyond_the_leg_is_no_example(index: int) -> None:
    with pytest.raises(IndexError):
        ordered(Numbers(6), LegData(""))[index]
    with pytest.raises(IndexError):
        padded(Numbers(6), 3)[index]


@pytest.mark.parametrize(("count", "multiple", "length"), [(6, 3, 6), (7, 3, 9), (1, 8, 8), (5, 1, 5), (0, 4, 0)])
def test_examples_are_filled_up_with_rows_that_teach_nothing(count: int, multiple: int, length: int) -> None:
    found = padded(Numbers(count), multiple)

    assert len(found) == length
    assert [found[index] for index in range(count)] == Numbers(count)
    for index in range(count, length):
        assert set(found[index]["labels"]) == {-100}
        assert len(found[index]["input_ids"]) == len(found[index]["labels"]) == 2


def test_rows_are_padded_on_the_right_and_padding_is_neither_seen_nor_learned() -> None:
    batch = collate([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8, 9], "labels": [8, 9]}], 3)

    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 3]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "labels": [[-100, 6, 7], [8, 9, -100]],
    }


def test_a_row_that_teaches_nothing_changes_no_gradient() -> None:
    import torch

    from tests.backends.hf_trainer.fitting import llama

    model = llama()
    rows = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}]
    gradients = []
    for given_rows in (rows, [padded(rows, 2)[index] for index in range(2)]):
        model.zero_grad()
        model(**collate(given_rows, 0), num_items_in_batch=torch.tensor(2)).loss.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))

    assert gradients[0].abs().sum() > 0
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)


def test_a_batch_that_teaches_nothing_at_all_gives_no_gradient_and_no_nan() -> None:
    import torch

    from tests.backends.hf_trainer.fitting import llama

    model = llama()
    loss = model(**collate([padded(Numbers(1), 2)[1]], 0), num_items_in_batch=torch.tensor(2)).loss
    loss.backward()

    assert loss.item() == 0
    assert all(not weight.grad.any() for weight in model.parameters())


def test_without_datasets_the_extra_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(AuditError, match=r"needs datasets, .* pip install 'checkpoint-audit\[hf\]'"):
        examples(LegData(write(tmp_path / "a.jsonl", {"text": "a"})), None, None, str(tmp_path))
