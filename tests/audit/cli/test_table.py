"""Tables: plain and whole into a pipe, fitted to the width of a real terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from audit.cli.table import table, wrapped
from audit.testing.runs import make_run

HEADS = ("NAME", "STEP", "KIND", "STATE", "WHY")
ROWS = [("checkpoint-1", 1, "a kind of " * 4, "sealed", ""), ("checkpoint-20", 20, "b", "broken", "word " * 30)]


def on_terminal(width: int, command: list[str], **environment: str) -> str:
    """Run a command in a pseudo-terminal of this width and return what it shows."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "CI", "NO_COLOR")}
    child = subprocess.Popen(
        command, stdin=other, stdout=other, stderr=other, env={**clean, "TERM": "xterm", **environment}
    )
    os.close(other)
    shown = b""
    try:
        while chunk := os.read(main, 65536):
            shown += chunk
    except OSError:  # Linux: the other end is closed
        pass
    os.close(main)
    child.wait()
    return shown.decode().replace("\r\n", "\n")


def drawn(width: int, **environment: str) -> str:
    code = (
        f"import sys; from audit.cli.table import table; sys.stdout.write(table({HEADS!r}, {ROWS!r}, drop=('KIND',)))"
    )
    return on_terminal(width, [sys.executable, "-c", code], **environment)


def test_into_a_pipe_it_is_plain_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = table(HEADS, ROWS, drop=("KIND",))
    lines = text.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in text
    assert lines[2].endswith("word")
    assert lines[1].index(" 1  a") == lines[2].index("20  b")


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_no_line_is_wider_than_it(width: int) -> None:
    text = drawn(width, NO_COLOR="1")
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("word") == 30
    assert f"left out at {width} columns: KIND" in text
    assert "a kind" not in text


def test_columns_wins_over_the_width_of_the_terminal() -> None:
    assert max(map(len, drawn(200, NO_COLOR="1", COLUMNS="60").splitlines())) <= 60


def test_a_state_has_its_colour() -> None:
    text = drawn(120)
    assert re.search(r"\x1b\[32msealed", text)
    assert re.search(r"\x1b\[1;31mbroken", text)


@pytest.mark.parametrize("command", ["list", "show", "diff"])
def test_a_run_is_shown_in_80_columns(command: str, tmp_path: Path) -> None:
    run = str(make_run(tmp_path / "run"))
    names = sorted(name for name in os.listdir(run) if name.startswith("checkpoint-"))
    arguments = [os.path.join(run, name) for name in names[:2]] if command == "diff" else [run]
    program = [sys.executable, "-c", "from audit.cli import main; main()", command, *arguments]
    text = on_terminal(80, program, NO_COLOR="1")
    assert "checkpoint-" in text
    assert not [line for line in text.splitlines() if len(line) > 80 and str(tmp_path) not in line]


def test_numbers_are_aligned_at_the_point_and_sizes_at_their_end() -> None:
    rows = [
        ("a", 1.5, "10.2 kB", "1-40"),
        ("b", 120, "811 B", "x"),
        ("c", 0.0625, "105.7 MB", "-"),
        ("d", None, "-", ""),
    ]
    lines = table(("NAME", "LOSS", "SIZE", "STEPS"), rows).splitlines()
    assert lines == [
        "NAME      LOSS      SIZE  STEPS",
        "a       1.5      10.2 kB  1-40",
        "b     120          811 B  x",
        "c       0.0625  105.7 MB  -",
        "d       -              -",
    ]


def test_a_number_with_an_exponent_moves_no_other() -> None:
    assert table(None, [(1e-9,), (0.5,)]).splitlines() == ["1e-09", "  0.5"]


def test_a_line_is_wrapped_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert wrapped("word " * 10, 4) == "word " * 10 + "\n"
    code = "import sys; from audit.cli.table import wrapped; sys.stdout.write(wrapped('word ' * 10, 4))"
    assert on_terminal(20, [sys.executable, "-c", code]).splitlines()[:2] == [
        "word word word word",
        "    word word word",
    ]
