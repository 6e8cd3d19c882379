"""What `audit train` shows: one line or less for each event, whatever stands in it, and a bar on a terminal."""

import fcntl
import io
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.cli.progress_of_training import _TEXTS, Screen, json_line, text_of

BATCH = {
    "event": "batch",
    "file": "a.jsonl",
    "first_step": 0,
    "last_step": 40,
    "begun": 0,
    "examples": 160,
    "first_example": 0,
    "resumed_from": None,
}
FINISHED = {
    "event": "finished",
    "file": "a.jsonl",
    "first_step": 0,
    "last_step": 40,
    "examples": 160,
    "first_loss": 4.0861,
    "last_loss": 3.0,
    "checkpoint": "checkpoint-40",
    "verdict": "sound",
}
KEYS: tuple[str, ...] = (
    "file",
    "to",
    "path",
    "inbox",
    "reason",
    "text",
    "step",
    "loss",
    "learning_rate",
    "checkpoint",
    "kind",
    "time",
)
KEYS += ("first_step", "last_step", "examples", "first_example", "resumed_from", "first_loss", "last_loss", "saved")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(10**400),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text() | st.integers(), parts, max_size=3),
    max_leaves=5,
)
EVENTS = st.builds(
    lambda kind, rest: {**rest, "event": kind},
    st.sampled_from([*_TEXTS, "step", "phase", "refused", "unheard of"]),
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), VALUES),
)


def strict(text: str) -> Any:
    """Parse JSON as a strict reader would: NaN is no number."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@given(EVENTS)
def test_every_event_is_one_line_of_valid_json(event: dict[str, Any]) -> None:
    line = json_line(event)
    assert "\n" not in line
    assert line.isascii()
    document = strict(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["time"])
    assert document["event"] == event["event"]


@given(EVENTS)
def test_every_event_is_at_most_one_line_that_no_terminal_obeys(event: dict[str, Any]) -> None:
    text = text_of(event)
    assert text is None or text.isprintable()


@given(st.lists(EVENTS, max_size=5))
@settings(max_examples=25)
def test_no_event_breaks_the_bar(events: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        patch.setattr(sys, "stderr", terminal)
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
        patch.delenv("CI", raising=False)
        patch.setenv("TERM", "xterm")
        with Screen(quiet=False) as screen:
            screen.say(BATCH)
            assert screen._bar is not None
            for event in events:
                screen.say(event)


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_loss_that_is_no_number_is_text_in_json(value: float, text: str) -> None:
    assert strict(json_line({"event": "step", "step": 3, "loss": value}))["loss"] == text


def test_a_name_that_is_no_text_stays_valid_json() -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    assert strict(json_line({"event": "rejected", "file": name}))["file"] == name
    assert text_of({**BATCH, "file": name}) == r"caf\udce9.jsonl: 160 examples, steps 1 to 40, from scratch"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (BATCH, "a.jsonl: 160 examples, steps 1 to 40, from scratch"),
        (
            {**BATCH, "first_step": 8, "first_example": 32, "resumed_from": "/runs/checkpoint-8"},
            "a.jsonl: examples 33 to 160, steps 9 to 40, after checkpoint-8",
        ),
        (
            {**BATCH, "last_step": None, "examples": None, "first_example": 5},
            "a.jsonl: from example 6 on, from step 1 on, from scratch",
        ),
        (FINISHED, "a.jsonl: trained to step 40, loss 4.086 -> 3; checkpoint-40 is proven and sealed"),
        ({**FINISHED, "first_loss": None}, "a.jsonl: trained to step 40; checkpoint-40 is proven and sealed"),
        ({"event": "retired", "file": "a.jsonl", "to": None}, "a.jsonl: deleted"),
        ({"event": "stopped", "step": 7, "saved": True}, "stopped at step 7, saved; the next call goes on there"),
        ({"event": "failed", "file": "a", "kind": "killed", "reason": "the refusal says it"}, None),
        ({"event": "failed", "file": "a", "kind": "changed", "reason": "was written to"}, "a: was written to"),
        ({"event": "unheard of"}, None),
    ],
)
def test_what_is_said(event: dict[str, Any], text: str | None) -> None:
    assert text_of(event) == text


def test_paths_inside_the_current_directory_begin_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    inside, beside = str(tmp_path / "here" / "done" / "a.jsonl"), str(tmp_path / "hereafter" / "a.jsonl")
    assert text_of({"event": "retired", "file": "a", "to": inside}) == "a: moved to done/a.jsonl"
    assert text_of({"event": "retired", "file": "a", "to": beside}) == f"a: moved to {beside}"
    assert strict(json_line({"event": "retired", "to": inside}))["to"] == inside


def test_where_it_is_no_terminal_there_are_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=False) as screen:
        for event in (BATCH, {"event": "step", "step": 1, "loss": 2.0}, {"event": "phase", "text": "x"}, FINISHED):
            screen.say(event)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == ""


def test_quiet_says_what_went_wrong_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=True) as screen:
        for event in (BATCH, FINISHED, {"event": "rejected", "file": "b", "to": "c", "reason": "bad"}):
            screen.say(event)
    assert capsys.readouterr().out == "b: set aside in c: bad\n"


PIPED = """
import os, signal, sys
from audit.cli.progress_of_training import Lines, Screen
shown = {"Lines": Lines, "Screen": lambda: Screen(quiet=False)}[sys.argv[1]]()
for _ in range(3):
    shown.say({"event": "note", "text": "x" * 100000})
os.write(2, b"still here")
"""


@pytest.mark.parametrize("which", ["Lines", "Screen"])
def test_where_nobody_reads_any_more_training_goes_on(which: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.run(
        [sys.executable, "-c", PIPED, which], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (child.returncode, child.stderr) == (0, "still here")


# -- On a real terminal -----------------------------------------------------------------------------------------------

FEED = f"""
import os, time
from audit.cli.progress_of_training import Screen
batch, finished = {BATCH!r}, {FINISHED!r}
name = "a\\x1b]0;owned\\x07 name that is longer than any column should be.jsonl"
with Screen(quiet=False) as screen:
    screen.say({{**batch, "file": name}})
    for step in range(1, 30):
        screen.say({{"event": "step", "step": step, "loss": 2.5, "learning_rate": 0.00012}})
    time.sleep(0.3)
    screen.say({{"event": "note", "text": "above the bar"}})
    screen.say({{"event": "note", "text": "\\x1b[2J" + "long " * 30}})
    time.sleep(0.2)
    screen.say(finished)
"""


def in_terminal(columns: int, **environment: str) -> str:
    """Everything that a terminal of so many columns gets."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "COLUMNS")}
    child = subprocess.Popen(
        [sys.executable, "-c", FEED],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**clean, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so where the other end is closed
            break
        if not part:
            break
        received += part
    os.close(ours)
    assert child.wait() == 0
    return received.decode()


def rendered(text: str, columns: int) -> tuple[list[str], list[str]]:
    """The screen in the end, and every text that was ever drawn between two line ends: enough of a terminal for rich."""
    lines, row, drawn = [""], 0, []
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b", text):
        if part == "\r":
            continue
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b["):
            assert "\x1b" not in part
            lines[row] = lines[row] + part
            drawn.append(lines[row])
    return [line.rstrip() for line in lines], drawn


@pytest.mark.parametrize("columns", [20, 60, 100])
def test_the_bar_keeps_to_one_line_and_leaves_none_behind(columns: int) -> None:
    screen, drawn = rendered(in_terminal(columns), columns)
    bars = [text for text in drawn if "/40" in text]
    assert bars
    assert max(map(len, bars)) <= columns
    shown = [line for line in screen if line]
    assert [line[:20] for line in shown] == [
        r"a\x1b]0;owned\x07 name"[:20],
        "note: above the bar",
        r"note: \x1b[2Jlong lo"[:20],
        "a.jsonl: trained to ",
    ]


def test_the_bar_says_loss_and_learning_rate() -> None:
    assert any("29/40" in text and "loss 2.5  lr 0.00012" in text for text in rendered(in_terminal(100), 100)[1])


def test_no_color_is_respected() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
    assert colour.search(in_terminal(60))
    assert not colour.search(in_terminal(60, NO_COLOR="1"))


@pytest.mark.parametrize("environment", [{"CI": "true"}, {"TERM": "dumb"}])
def test_there_is_no_bar_where_nobody_watches(environment: dict[str, str]) -> None:
    text = in_terminal(60, **environment)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4
