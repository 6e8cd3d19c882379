"""A small process between the audit and the command: nothing of the command outlives the audit.

Started as a program of its own: ``python -I -S keeper.py CONTROL STATUS -- PROGRAM ARGUMENT...``. It runs the command
in a session of its own. CONTROL is a pipe that the audit writes to: each byte is a signal to pass on; when it closes,
the audit is gone, and everything is killed. STATUS takes one line when the command has ended, ``exit N``, ``signal N``
or ``errno N``, and closes when nothing of it is left.

Why a process: a launcher starts its workers in sessions of their own (torchrun does), so killing the command's group
does not reach them, and an abandoned trainer would write to the run beside the next one. On
Linux this process adopts whatever loses its parent (PR_SET_CHILD_SUBREAPER), so that all of it can be found and killed;
the command itself dies with this process (PR_SET_PDEATHSIG). Elsewhere the command's group is what can be reached.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LINUX = sys.platform == "linux"


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants() -> list[int]:
    """Return every process below this one; elsewhere than on Linux none."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if _LINUX else ():
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if state != b"Z":
            parents.setdefault(int(parent), []).append(int(name))
    found, ahead = [], [os.getpid()]
    while ahead:
        children = parents.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


class Keeper:
    """The command while it runs; ``main`` is its first process."""

    def __init__(self, argv: list[str]) -> None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.ended: str | None = None
        started = subprocess.Popen(
            argv,
            start_new_session=True,
            close_fds=False,
            preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - there is one thread
        )
        self.main = started.pid
        started.returncode = 0  # it is reaped below, with the adopted processes

    def reap(self) -> bool:
        """Collect processes that have ended; False if none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main:
                code = os.waitstatus_to_exitcode(status)
                self.ended = f"signal {-code}" if code < 0 else f"exit {code}"

    def send(self, number: int) -> None:
        """Pass a signal on to the command's group; to all processes if it is SIGKILL or the command has ended."""
        if self.ended is None or not _LINUX:
            with suppress(OSError):
                os.killpg(self.main, number)
        if number == signal.SIGKILL or self.ended is not None:
            for pid in descendants():
                with suppress(OSError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """Kill everything, including what is started meanwhile."""
        while self.reap():
            self.send(signal.SIGKILL)
            select.select([], [], [], 0.01)


def main(arguments: list[str]) -> int:
    """Run the command until nothing of it is left."""
    control, status = int(arguments[0]), int(arguments[1])
    os.set_inheritable(control, False)
    os.set_inheritable(status, False)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    # Handlers, not SIG_IGN, which the command would inherit; it must start with default signals.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        keeper = Keeper(arguments[3:])
    except OSError as error:
        os.write(status, f"errno {error.errno or 0}\n".encode())
        return 0
    told = False
    while keeper.reap():
        if keeper.ended is not None and not told:
            told = _tell(status, keeper.ended)
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            _drain(wake)
        if control in ready:
            numbers = os.read(control, 16)
            if not numbers:
                keeper.kill()
                return 0
            for asked in numbers:
                keeper.send(asked)
    if keeper.ended is not None and not told:
        _tell(status, keeper.ended)
    if not _LINUX:
        keeper.send(signal.SIGKILL)
    return 0


def _drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        os.read(descriptor, 4096)


def _tell(status: int, text: str) -> bool:
    with suppress(OSError):  # the audit has ended; the control pipe is closed, too
        os.write(status, f"{text}\n".encode())
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
