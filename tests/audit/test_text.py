"""Values of an audited file become plain ones, whatever they are."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from audit.formats.pickle_values import Call, Global
from audit.text import brief, did_you_mean, human_bytes, listed, local_date, plain, shortened, utc_time, veiled

HUGE = 10**5000
"""More digits than Python prints."""


CASES: list[tuple[Any, Any]] = [
    (None, None), (True, True), (3, 3), (0.5, 0.5), ("text", "text"),
    (float("nan"), "nan"), (float("-inf"), "-inf"), (HUGE, "an integer of 16610 bits"),
    (b"12345", "5 bytes"), ((1, [2.5]), [1, [2.5]]), ({1: {None: float("inf")}}, {"1": {"None": "inf"}}),
    ({HUGE: 1}, {"an integer of 16610 bits": 1}), (Call("a.b", ()), "<Call a.b>"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_every_value_has_a_plain_one(number: int) -> None:
    value, expected = CASES[number]
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    json.dumps(plain(value), allow_nan=False)


TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TOKEN, "hf_a..."),
        (f"as {TOKEN}, twice: {TOKEN}", "as hf_a..., twice: hf_a..."),
        ({"hub_token": "my own words"}, {"hub_token": "my o..."}),
        ({"deep": [{"api_key": "0123456789"}]}, {"deep": [{"api_key": "0123..."}]}),
        (
            {"hub_token": "<HUB_TOKEN>", "eos_token": "<|endoftext|>"},
            {"hub_token": "<HUB_TOKEN>", "eos_token": "<|endoftext|>"},
        ),
        ({TOKEN: 1}, {"hf_a...": 1}),
        ("sk-learn-compatible-estimator", "sk-learn-compatible-estimator"),
        ("\udc80 hf_", "\udc80 hf_"),
    ],
)
def test_tokens_and_keys_are_never_written_whole(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_depth_and_length_are_bounded() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    deep.append(deep)
    assert len(json.dumps(plain(deep[0]))) < 200
    assert plain("x" * 20_000).endswith("... (20000 characters)")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"), (True, "yes"), (False, "no"), (1 / 3, "0.333333"), (12345678, "12345678"),
        (["a", "b"], "a b"), ([["a"], "b"], "[['a'], 'b']"), ([], "[]"), ("x" * 100, "x" * 57 + "..."),
        (Global("a.b"), "['a.b']"),
    ],
)  # fmt: skip
def test_a_brief_value_fits_on_a_line(value: Any, expected: str) -> None:
    assert brief(value) == expected


def test_a_list_without_end_is_brief() -> None:
    assert len(brief(["word"] * 10**6)) == 60


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_449, "99.4 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
        (999_999, "1.0 MB"), (1_500_000, "1.5 MB"), (3 * 10**12, "3.0 TB"), (2 * 10**15, "2.0 PB"), (10**19, "10000.0 PB"),
    ],
)  # fmt: skip
def test_sizes_are_shown_as_disks_are_sold(number: int, text: str) -> None:
    assert human_bytes(number) == text


def test_a_moment_is_utc_in_iso_8601(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX+11")
    time.tzset()
    try:
        assert utc_time(1_795_264_200) == "2026-11-21T12:30:00Z"
        assert utc_time(1_795_264_200, "%Y-%m-%d %H:%M UTC") == "2026-11-21 12:30 UTC"
        before = int(time.time())
        now = datetime.fromisoformat(utc_time()).timestamp()
        assert before <= now <= time.time()
        behind = [datetime.fromtimestamp(moment - 11 * 3600, UTC).date() for moment in (before, time.time() + 1)]
        assert local_date() in [str(day) for day in behind]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_near_names_are_offered_and_far_ones_are_not() -> None:
    assert did_you_mean("console", ("konsole", "json")) == "; did you mean 'konsole'?"
    assert did_you_mean("jso", {"json", "jsonl"}) in (
        "; did you mean 'json' or 'jsonl'?",
        "; did you mean 'jsonl' or 'json'?",
    )
    assert did_you_mean("sarif", ["html"]) == ""


def test_what_other_programs_call_a_key_is_known() -> None:
    assert did_you_mean("rank", ["rank_pattern", "r", "lora_alpha"]) == "; did you mean 'r'?"
    assert did_you_mean("lr", ["learning_rate"]) == "; did you mean 'learning_rate'?"
    assert did_you_mean("batch-size", ["per_device_train_batch_size", "auto_find_batch_size"]) == (
        "; did you mean 'per_device_train_batch_size'?"
    )
    assert did_you_mean("rank", ["ranks"]) == "; did you mean 'ranks'?"  # nothing is called r here


def test_many_names_are_listed_by_their_last_ones() -> None:
    assert listed([]) == "none"
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "2 older ones, c, d"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://me:hunter2@bucket/run: cannot be read", "s3://me:...@bucket/run: cannot be read"),
        ("https://:hunter2@host", "https://:...@host"),
        ("two: a://b:hunter2@c and d://e:hunter2@f", "two: a://b:...@c and d://e:...@f"),
        ("s3://bucket/run@2:3", "s3://bucket/run@2:3"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("me@host:/run", "me@host:/run"),
    ],
)
def test_the_password_of_a_url_is_not_shown(text: str, shown: str) -> None:
    assert veiled(text) == shown


@pytest.mark.parametrize(("length", "shown"), [(40, "a" * 40), (41, "a" * 37 + "...")])
def test_a_long_text_is_shortened(length: int, shown: str) -> None:
    assert shortened("a" * length) == shown
    assert shortened("a" * 7, 6) == "aaa..."
