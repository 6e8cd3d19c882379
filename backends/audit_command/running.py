"""Run the command for one leg: start it, pass signals on, see what it saved, say why it failed."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from audit.plugin import ConfigError, LegFailed, LegRequest, LegResult, Note, Phase, Tell, catch_signals, load_plugins
from audit_command import keeper
from audit_command.progress import Progress, Saved
from audit_command.settings import STOP_SECONDS, Call, call_for
from audit_command.stderr import Tail

POLL_SECONDS = 1.0
"""How often the run is looked at for a new checkpoint."""
LEFT_BEHIND_SECONDS = 10.0
"""How long processes that the command leaves behind have to end after SIGTERM."""


def train(request: LegRequest, tell: Tell) -> LegResult:
    """Run the command once; its new checkpoints are the result.

    Raises ConfigError if the command cannot be started, LegFailed if it fails, takes too long, or ends without a new
    checkpoint. After SIGINT or SIGTERM the exit code is ignored, and the newest checkpoint is the result.
    """
    call = call_for(request, os.environ)
    table = request.settings["command"]
    progress = Progress(request.run, request.first_step, load_plugins().backends)
    tell(Phase(f"running {os.path.basename(call.argv[0])}"))
    with Running(call, table, lambda: progress.look(tell)) as running:
        running.wait()
    saved = progress.newest()
    progress.step = max(progress.step, saved.step if saved else 0)
    if running.stopped_by is None:
        _check_end(running, request, progress, saved)
    progress.look(tell)
    if saved is not None:
        for text in _notes(request, progress, saved):
            tell(Note(f"{request.data.path}: {text}"))
    return LegResult(
        request.first_step,
        saved.step if saved else request.first_step,
        progress.losses(saved) if saved else (),
        running.stopped_by,
    )


def _check_end(running: "Running", request: LegRequest, progress: Progress, saved: Saved | None) -> None:
    """Raise LegFailed unless the command ended well and saved something."""
    how, _, number = running.ended.partition(" ")
    told = running.tail.reason()
    after = f"; last output: {told}" if told else "; it wrote nothing to stderr"
    if running.timed_out:
        seconds = running.timeout
        raise LegFailed(f"the command was ended after command.timeout_seconds = {seconds:g}", "timeout", progress.step)
    if how == "lost":
        what = "was killed, and so was the command" if int(number) < 0 else f"ended with code {number}{after}"
        raise LegFailed(f"the process that supervises the command {what}", "killed", progress.step)
    code = int(number)
    if how == "signal" or 128 < code <= 128 + signal.SIGTERM:
        number_of = code if how == "signal" else code - 128
        hint = ", perhaps by the kernel because memory ran out (dmesg says so)" if number_of == signal.SIGKILL else ""
        raise LegFailed(
            f"the command was killed by signal {number_of} ({_name(number_of)}){hint}{after}", "killed", progress.step
        )
    if code:
        raise LegFailed(f"the command ended with exit code {code}{after}", running.tail.kind(), progress.step)
    if saved is None:
        raise LegFailed(_no_progress(request), "no-progress", progress.step)


def _notes(request: LegRequest, progress: Progress, saved: Saved) -> Iterator[str]:
    """Yield what the command visibly did differently than asked; which examples it trained cannot be seen."""
    asked = request.settings["command"].get("examples_per_step")
    took = progress.examples_per_step(saved) if asked is not None else None
    if took is not None and took != asked:
        yield (
            f"training_args.bin says that a step took {took} examples (batch size x accumulation x processes), but "
            f"command.examples_per_step is {asked}, so examples were trained "
            f"{'more than once' if took > asked else 'not at all'}"
        )
    if request.last_step is not None and saved.step > request.last_step:
        yield (
            f"the command trained to step {saved.step}, but was asked for {request.last_step} (AUDIT_LAST_STEP), so "
            "examples were trained more than once"
        )


def _no_progress(request: LegRequest) -> str:
    if request.last_step is None:
        budget = "give it a step budget above the step that it resumes from"
    else:
        budget = f"its max_steps must be {request.last_step} (AUDIT_LAST_STEP), counted from the run's beginning"
    if request.resume_from is None:
        why = "does it save into the run (AUDIT_RUN), and does it save at its end"
        return f"the command exited with code 0, but there is no checkpoint in {request.run}: {why}?"
    return (
        f"the command exited with code 0, but saved no checkpoint after step {request.first_step}: a Trainer that has already "
        f"reached num_train_epochs or max_steps stops at once, so {budget}; or it does not save at its end, or not into "
        f"{request.run}"
    )


class Running:
    """One command, from its start to the end of everything that it started. Use in a ``with`` statement."""

    def __init__(self, call: Call, table: Mapping[str, Any], look: Any) -> None:
        self._call = call
        self._look = look
        self._stop_seconds = float(table.get("stop_seconds", STOP_SECONDS))
        self.timeout: float | None = table.get("timeout_seconds")
        self.ended = ""
        """``exit N`` or ``signal N``; ``lost N`` if the keeper ended with N before it could report it."""
        self.stopped_by: int | None = None
        self.timed_out = False
        self.tail = Tail()
        self._kill_at: float | None = None

    def __enter__(self) -> "Running":
        call = self._call
        if not os.path.isdir(call.cwd):
            raise ConfigError(f"command.cwd: {call.cwd} is not a directory")
        self._wake, woken = os.pipe()
        os.set_blocking(woken, False)
        self._woken = woken
        control, self._control = os.pipe()
        self._status, status = os.pipe()
        program = [sys.executable, "-I", "-S", keeper.__file__, str(control), str(status), "--", *call.argv]
        for descriptor in (control, status):
            os.set_inheritable(descriptor, True)
        try:
            # Inheritable descriptors are passed on, and with them the run's lock: it is held until nothing is left.
            self._keeper = subprocess.Popen(
                program,
                cwd=call.cwd,
                env=call.env,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                close_fds=False,
                start_new_session=True,
            )
        except OSError as error:
            raise LegFailed(f"the command cannot be started: {error.strerror or error}") from error
        finally:
            os.close(control)
            os.close(status)
        return self

    def __exit__(self, *exc: object) -> None:
        # Closing the control pipe makes the keeper kill what is left.
        os.close(self._control)
        self._keeper.wait()
        assert self._keeper.stderr is not None
        self._keeper.stderr.close()
        for descriptor in (self._status, self._wake, self._woken):
            os.close(descriptor)

    def wait(self) -> None:
        """Wait until the command and what it started have ended. Raises ConfigError if it cannot be started."""
        began = time.monotonic()
        assert self._keeper.stderr is not None
        stderr = self._keeper.stderr.fileno()
        os.set_blocking(stderr, False)
        said = b""
        with _signals(self._stop), selectors.DefaultSelector() as selector:
            for descriptor in (stderr, self._status, self._wake):
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(POLL_SECONDS)}
                if stderr in ready and not self.tail.take(stderr):
                    selector.unregister(stderr)
                if self._status in ready:
                    line = os.read(self._status, 100)
                    if not line:
                        break
                    said += line
                    self._main_ended(said.decode().strip())
                if self._wake in ready:
                    os.read(self._wake, 100)
                self._look()
                now = time.monotonic()
                if self.timeout is not None and now - began > self.timeout and self._kill_at is None:
                    self.timed_out = not self.ended
                    self._send(signal.SIGTERM, self._stop_seconds)
                if self._kill_at is not None and now > self._kill_at:
                    self._send(signal.SIGKILL, POLL_SECONDS)
        self.tail.take(stderr)
        if not self.ended:
            self.ended = f"lost {self._keeper.wait()}"

    def _main_ended(self, how: str) -> None:
        if how.startswith("errno"):
            raise ConfigError(f"command.argv.0: {self._call.argv[0]} cannot be started: {_why(self._call, how)}")
        self.ended = how
        if self._kill_at is None:
            self._send(signal.SIGTERM, LEFT_BEHIND_SECONDS)

    def _stop(self, number: int) -> None:
        """Pass on the first SIGINT or SIGTERM; a second one is the same request."""
        if self.stopped_by is None:
            self.stopped_by = number
            if self._kill_at is None:
                self._send(number, self._stop_seconds)
            os.write(self._woken, b"\0")

    def _send(self, number: int, seconds: float) -> None:
        self._kill_at = time.monotonic() + seconds
        with suppress(OSError):  # nothing is left to signal
            os.write(self._control, bytes([number]))


@contextmanager
def _signals(stop: Any) -> Iterator[None]:
    """Call ``stop`` for SIGINT and SIGTERM; only the main thread can catch them."""
    with catch_signals(lambda number, _: stop(number)):
        yield


def _why(call: Call, how: str) -> str:
    from shutil import which

    number = int(how.split()[1])
    program = call.argv[0]
    if number != 2:  # ENOENT
        return os.strerror(number)
    if os.sep in program:
        where = os.path.join(call.cwd, program)
        return "the interpreter in its first line does not exist" if os.path.exists(where) else "no such file"
    found = which(program, path=call.env.get("PATH"))
    return "no such program on PATH" if found is None else "the interpreter in its first line does not exist"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
