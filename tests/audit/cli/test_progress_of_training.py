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
from hypothesis import given
from hypothesis import strategies as st

from audit.backend.training import Phase, Step
from audit.cli.progress_of_training import Screen, json_line, text_of
from audit.training.events import (
    NAMES,
    BatchFailed,
    BatchFinished,
    BatchStarted,
    Event,
    FileRejected,
    FileRetired,
    TrainingStopped,
    WaitingForFiles,
)
from tests.audit.training.any_event import any_of
from tests.examples import examples

BATCH = BatchStarted("a.jsonl", 0, 40, 0, 160, 0, None)
FINISHED = BatchFinished("a.jsonl", 0, 40, 160, 4.0861, 3.0, "checkpoint-40", "sound")
EVENTS = st.one_of([any_of(event) for event in NAMES])


def strict(text: str) -> Any:
    """Parse JSON as a strict reader would: NaN is no number."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@given(EVENTS)
def test_every_event_is_one_line_of_valid_json(event: Event) -> None:
    line = json_line(event)
    assert "\n" not in line
    assert line.isascii()
    document = strict(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["time"])
    assert document["event"] == NAMES[type(event)]


@given(EVENTS)
def test_every_event_is_at_most_one_line_that_no_terminal_obeys(event: Event) -> None:
    text = text_of(event)
    assert text is None or text.isprintable()


@given(st.lists(EVENTS, max_size=5))
@examples(25)
def test_no_event_breaks_the_bar(events: list[Event]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        patch.setattr(sys, "stderr", terminal)
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
        patch.delenv("CI", raising=False)
        patch.setenv("TERM", "xterm")
        with Screen(quiet=False) as screen:
            screen.show(BATCH)
            assert screen._bar is not None
            for event in events:
                screen.show(event)


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_loss_that_is_no_number_is_text_in_json(value: float, text: str) -> None:
    assert strict(json_line(Step(3, loss=value)))["loss"] == text


def test_a_name_that_is_no_text_stays_valid_json() -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    assert strict(json_line(FileRejected(name, "", "")))["file"] == name
    assert text_of(BATCH._replace(file=name)) == r"caf\udce9.jsonl: 160 examples, steps 1 to 40, from scratch"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (BATCH, "a.jsonl: 160 examples, steps 1 to 40, from scratch"),
        (
            BATCH._replace(first_step=8, first_example=32, resumed_from="/runs/checkpoint-8"),
            "a.jsonl: examples 33 to 160, steps 9 to 40, after checkpoint-8",
        ),
        (
            BATCH._replace(last_step=None, examples=None, first_example=5),
            "a.jsonl: from example 6 on, from step 1 on, from scratch",
        ),
        (FINISHED, "a.jsonl: trained to step 40, loss 4.086 -> 3; checkpoint-40 is proven and sealed"),
        (FINISHED._replace(first_loss=None), "a.jsonl: trained to step 40; checkpoint-40 is proven and sealed"),
        (FileRetired("a.jsonl", None), "a.jsonl: deleted"),
        (TrainingStopped(7, 15, True, None), "stopped at step 7, saved; run the same command to continue"),
        (BatchFailed("a", 7, "killed", "the refusal says it"), None),
        (BatchFailed("a", 7, "changed", "was written to"), "a: was written to"),
    ],
)
def test_what_is_said(event: Event, text: str | None) -> None:
    assert text_of(event) == text


def test_paths_inside_the_current_directory_begin_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    inside, beside = str(tmp_path / "here" / "done" / "a.jsonl"), str(tmp_path / "hereafter" / "a.jsonl")
    assert text_of(FileRetired("a", inside)) == "a: moved to done/a.jsonl"
    assert text_of(FileRetired("a", beside)) == f"a: moved to {beside}"
    assert strict(json_line(FileRetired("a", inside)))["to"] == inside


def test_where_it_is_no_terminal_there_are_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=False) as screen:
        for event in (BATCH, Step(1, loss=2.0), Phase("x"), FINISHED):
            screen.show(event)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == ""


def test_quiet_says_what_went_wrong_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=True) as screen:
        for event in (BATCH, FINISHED, FileRejected("b", "bad", "c")):
            screen.show(event)
    assert capsys.readouterr().out == "b: set aside in c: bad\n"


PIPED = """
import os, signal, sys
from audit.backend.training import Note
from audit.cli.progress_of_training import Lines, Screen
shown = {"Lines": Lines, "Screen": lambda: Screen(quiet=False)}[sys.argv[1]]()
for _ in range(3):
    shown.show(Note("x" * 100000))
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
from audit.backend.training import Note, Step
from audit.training.events import BatchFinished, BatchStarted
batch, finished = {BATCH!r}, {FINISHED!r}
name = "a\\x1b]0;owned\\x07 name that is longer than any column should be.jsonl"
with Screen(quiet=False) as screen:
    screen.show(batch._replace(file=name))
    for step in range(1, 30):
        screen.show(Step(step, loss=2.5, learning_rate=0.00012))
    time.sleep(0.3)
    screen.show(Note("above the bar"))
    screen.show(Note("\\x1b[2J" + "long " * 30))
    time.sleep(0.2)
    screen.show(finished)
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
    """The final screen, and every text that was ever drawn between two line ends: enough of a terminal for rich."""
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


def test_the_lines_of_a_daemon_begin_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=False, stamped=True) as screen:
        screen.show(WaitingForFiles("/data/inbox"))

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  waiting for files in /data/inbox\n", capsys.readouterr().out
    )
