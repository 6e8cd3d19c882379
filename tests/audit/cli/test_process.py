"""What only a process of its own shows: pipes, terminals, encodings, and that nothing is changed or called."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.cli.conftest import Ended, command

Audit = Callable[..., Ended]


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Run with stdout on a terminal; return what the terminal received."""
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    child = subprocess.Popen(
        command(arguments), stdout=slave, stderr=subprocess.PIPE, env={**kept, "TERM": "xterm", **environment}
    )
    os.close(slave)
    received = b""
    try:
        while chunk := os.read(master, 65536):
            received += chunk
    except OSError:  # Linux: the other side of the terminal is closed
        pass
    _, errors = child.communicate()
    os.close(master)
    assert not errors
    return received.decode()


def test_the_installed_command_gives_verdict_and_exit_code(installed: Audit, run: str, broken: str) -> None:
    sound, bad = installed("verify", run), installed("verify", broken)
    assert (sound.code, sound.err, bad.code, bad.err) == (0, "", 1, "")
    assert "SOUND" in sound.out
    assert "BROKEN" in bad.out


def test_an_error_goes_to_stderr(installed: Audit, tmp_path: Path) -> None:
    ended = installed("verify", str(tmp_path / "nowhere"))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)


def test_there_is_colour_on_a_terminal_only(installed: Audit, run: str) -> None:
    assert "\x1b[" in on_a_terminal("verify", run)
    assert "\x1b[" not in installed("verify", run).out


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"CI": "true"}, {"TERM": "dumb"}])
def test_the_environment_switches_colour_off(run: str, environment: dict[str, str]) -> None:
    received = on_a_terminal("verify", run, **environment)
    assert "\x1b[" not in received
    assert "SOUND" in received


@pytest.mark.parametrize(
    "arguments", [["--version"], ["rules"], ["verify", "RUN"], ["list", "RUN"], ["show", "RUN", "--format", "json"]]
)
def test_a_reader_that_went_away_is_no_error(run: str, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            command([run if argument == "RUN" else argument for argument in arguments]),
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_names_that_the_terminal_cannot_show_are_escaped(installed: Audit, run: str) -> None:
    odd = os.path.join(os.fsencode(run), b"checkpoint-300", b"caf\xc3\xa9-\xff-\x1b[31m.json")
    with open(odd, "w") as file:
        file.write("{")  # a warning, so that the name is shown
    for arguments in (["verify", run], ["verify", run, "--format", "json"], ["show", run], ["list", run]):
        ended = installed(*arguments, PYTHONIOENCODING="ascii", LC_ALL="C")
        assert (ended.code, ended.err) == (0, "")
        assert "\x1b" not in ended.out
        assert arguments[0] == "list" or "[31m.json" in ended.out


WATCHED = """
import sys

CHANGES = (
    "os.mkdir os.rename os.remove os.rmdir os.link os.symlink os.truncate os.utime os.chmod os.chown os.setxattr "
    "shutil.move shutil.rmtree subprocess.Popen os.system os.exec os.posix_spawn os.fork socket.connect socket.bind "
    "socket.getaddrinfo pickle.find_class"
).split()
seen = []


def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND
        if flags & (1 | 2 | 0o100 | 0o1000 | 0o2000) and path != "/dev/null":
            seen.append((event, path))
    elif event in CHANGES:
        seen.append((event, str(arguments)))


from audit.cli import run
sys.addaudithook(watch)
code = run(sys.argv[1:])
print(*seen, sep="\\n", file=sys.stderr)
sys.exit(1 if seen else code)
"""


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_without_a_ledger_a_verification_writes_nothing_starts_nothing_and_asks_no_network(
    run: str, depth: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, "verify", run, "--depth", depth, "--no-ledger"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    "arguments", [("rules",), ("list",), ("verify", "--no-ledger"), ("verify", "--format", "json")]
)
def test_a_full_disk_under_the_output_is_one_line(run: str, arguments: tuple[str, ...]) -> None:
    arguments = arguments if arguments == ("rules",) else (*arguments, run)
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(command(arguments), stdout=full, stderr=subprocess.PIPE, check=False, text=True)

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "No space left" in ended.stderr


def test_a_closed_output_is_one_line_and_a_closed_stderr_is_nothing(run: str) -> None:
    line = " ".join(command(("verify", "--no-ledger", run)))
    closed = subprocess.run(["sh", "-c", f"{line} >&-"], stderr=subprocess.PIPE, check=False, text=True)
    silent = subprocess.run(["sh", "-c", f"{line} 2>&-"], stdout=subprocess.PIPE, check=False, text=True)

    assert (closed.returncode, closed.stderr.count("\n")) == (2, 1)
    assert (silent.returncode, "SOUND" in silent.stdout) == (0, True)
