"""A leg in a process of its own: whatever kills it, whatever it writes, the audit outlives it and says why."""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import (
    BadData,
    Judged,
    LegData,
    LegFailed,
    LegRequest,
    LegResult,
    Phase,
    Progress,
    Step,
    Tell,
)
from audit.errors import AuditError, ConfigError
from audit.training import logging_thread, training_process
from audit.training.process import InChild
from audit.training.tracking import Found
from tests.audit.training.toy import Toy

ROOT = Path(__file__).parents[3]
PLUGIN = """
import contextlib, os, signal, sys, time
from audit.errors import AuditError, ConfigError
from audit.hookspecs import hookimpl
from audit.backend.training import BadData, LegFailed, LegResult, Note, OpenTrackers, Phase, Step
from tests.audit.training.toy import Toy

pipe = int("".join(filter(str.isdigit, sys.orig_argv[-1])))

class Child(Toy):
    name = "child"

    def train(self, request, tell):
        exec(request.settings["do"], {**globals(), "tell": tell})
        return LegResult(request.first_step, 7, ((7, 1.5),))

    @contextlib.contextmanager
    def trackers(self, without):
        yield OpenTrackers([], {})

@hookimpl
def audit_training_backends():
    return [Child()]

@hookimpl
def audit_legs_judged(run, judged, since, writers, without):
    exec(since, globals())
    return {"board": f"{judged[0].verdict} at {[item.step for item in judged]}"}
"""
Leg = Callable[..., LegResult]


class Child(Toy):
    name = "child"


@pytest.fixture
def leg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leg:
    """``leg(code)`` runs code as a leg; what it tells is in ``told``, what it prints in ``log``."""
    info = tmp_path / "plugins" / "child-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: child\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[audit]\nchild = child_plugin\n")
    (tmp_path / "plugins" / "child_plugin.py").write_text(PLUGIN)
    rooms = (tmp_path / "plugins", ROOT, ROOT / "backends", ROOT / "plugins")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, rooms)))

    def run(
        do: str = "pass",
        told: Tell = lambda event: None,
        log: str | None = str(tmp_path / ".audit" / "training.log"),
        **settings: Any,
    ) -> LegResult:
        request = LegRequest(str(tmp_path), None, 0, None, LegData("data.jsonl"), {"do": do, **settings})
        return InChild(log=log)(Child(), request, told)

    return run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / ".audit" / "training.log"


def test_what_a_leg_tells_and_gives_comes_through(leg: Leg) -> None:
    told: list[Progress] = []
    do = "tell(Phase('caf\\u00e9')); tell(Step(1, loss=float('nan')))"
    assert leg(do, told.append) == LegResult(0, 7, ((7, 1.5),))
    assert told[0] == Phase("café")
    assert isinstance(told[1], Step)
    assert math.isnan(told[1].loss or 0.0)


class Logging(Child):
    def tracks(self, settings: Any) -> bool:
        return True


def stepping(home: Path, enough: Path) -> LegRequest:
    """Ask for a leg that makes steps until there is a file ``enough``."""
    do = f"""
for step in range(1, 6000):
    tell(Step(step))
    if os.path.exists({str(enough)!r}):
        break
    time.sleep(0.01)
"""
    return LegRequest(str(home), None, 0, None, LegData("data.jsonl"), {"do": do})


def test_what_is_found_at_a_save_is_logged_while_the_leg_is_trained(leg: Leg, tmp_path: Path) -> None:
    """``leg`` puts the plugin in its place. The leg goes on until the answer was asked for, or for a minute."""
    found = [Found([Judged(step, "broken", 1, 0, -1)], "") for step in (1, 2)]
    refused: list[Any] = []
    steps: list[int] = []
    enough = tmp_path / "enough"

    def tell(event: Progress) -> None:
        steps.append(event.step if isinstance(event, Step) else 0)
        if refused:
            enough.touch()

    request = stepping(tmp_path, enough)
    with InChild() as in_child:
        in_child.meanwhile = lambda: found.pop() if found else None
        in_child.refused = refused.append
        in_child(Logging(), request, tell)
        assert steps[-1] < 5999
        said = [why for failed in refused for why in failed.values()]
        assert said[0] in ("broken at [2]", "broken at [2, 1]")


def test_a_tracker_that_never_answers_at_a_save_does_not_hold_the_leg(leg: Leg, tmp_path: Path) -> None:
    """Nor does it ever answer after it: what was found then is not waited for longer than it may take."""
    found = [Found([Judged(1, "sound", 0, 0, 1)], "time.sleep(3600)", seconds=0.5)]
    refused: list[Any] = []
    enough = tmp_path / "enough"

    def tell(event: Progress) -> None:
        if refused:
            enough.touch()

    request = stepping(tmp_path, enough)
    with InChild() as in_child:
        in_child.meanwhile = lambda: found.pop() if found else None
        in_child.refused = refused.append
        assert in_child(Logging(), request, tell) == LegResult(0, 7, ((7, 1.5),))
        assert refused == [{"": "it took longer than 0.5 s"}]


def test_what_is_found_after_a_leg_does_not_wait_for_ever_for_what_was_found_at_a_save(
    leg: Leg, tmp_path: Path
) -> None:
    reached = tmp_path / "reached"
    never = f"open({str(reached)!r}, 'w').close(); time.sleep(3600)"
    saved = [Found([Judged(1, "sound", 0, 0, 1)], never, seconds=logging_thread.PAUSE + 1)]
    do = f"""
while not os.path.exists({str(reached)!r}):
    tell(Step(1))
    time.sleep(0.01)
"""
    request = LegRequest(str(tmp_path), None, 0, None, LegData("data.jsonl"), {"do": do})
    with InChild() as in_child:
        in_child.meanwhile = lambda: saved.pop() if saved else None
        in_child(Logging(), request, lambda event: None)
        with pytest.raises(AuditError, match=r"^it took longer than 2 s$"):
            in_child.log(Logging(), request, Found([Judged(7, "sound", 0, 0, 7)], "", seconds=600))


def test_what_has_no_place_in_json_is_text_and_no_number(leg: Leg) -> None:
    told: list[Progress] = []
    leg("tell(Step(1, loss={1, 2})); tell(Phase(text=Exception('odd')))", told.append)
    assert told == [Step(1), Phase("odd")]


@pytest.mark.parametrize(
    ("do", "error"),
    [
        ("raise BadData('data.jsonl', 3, 'is bad')", BadData("data.jsonl", 3, "is bad")),
        ("raise LegFailed('it burns', 'out-of-memory', 5)", LegFailed("it burns", "out-of-memory", 5)),
        ("raise ConfigError('arguments.lr: no')", ConfigError("arguments.lr: no")),
        ("raise AuditError('not installed')", AuditError("not installed")),
    ],
)
def test_what_a_leg_raises_is_raised(do: str, error: AuditError, leg: Leg) -> None:
    with pytest.raises(AuditError) as caught:
        leg(do)
    assert type(caught.value) is type(error)
    assert vars(caught.value) == vars(error)
    assert str(caught.value) == str(error)


@pytest.mark.parametrize(
    ("do", "kind", "reason"),
    [
        ("raise ValueError('odd')", "exit", "ended with code 1, without a result; last output: ValueError: odd"),
        (
            "print('the driver is gone', flush=True); os._exit(3)",
            "exit",
            "ended with code 3, without a result; last output: the driver is gone",
        ),
        ("sys.exit(0)", "exit", "ended with code 0, without a result"),
        ("os.abort()", "killed", "was killed by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed", "was killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed", "was killed by SIGKILL, perhaps because memory ran out"),
        ("os.kill(os.getpid(), 40)", "killed", "was killed by signal 40"),
        ("raise RecursionError('deep\\nand two lines')", "exit", "last output: and two lines"),
    ],
)
def test_what_kills_a_leg_is_said(do: str, kind: str, reason: str, leg: Leg) -> None:
    with pytest.raises(LegFailed, match=reason) as caught:
        leg(f"tell(Step(4)); {do}")
    assert (caught.value.kind, caught.value.step) == (kind, 4)


GARBAGE = (
    r"b'\xff\xfe\x00\n'",
    r"b'not JSON\n[1, 2]\n3\n\"text\"\nnull\n'",
    r"b'[' * 100000 + b'\n'",
    "b'x' * (3 << 20)",
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=["bytes", "values", "nested", "endless"])
def test_garbage_in_the_pipe_is_passed_over(garbage: str, leg: Leg) -> None:
    told: list[Progress] = []
    do = f"os.write(pipe, {garbage}); os.write(pipe, b'\\n'); tell(Step(1))"
    if "<<" in garbage:  # more than a pipe holds at once
        do = do.replace(f"os.write(pipe, {garbage})", f"open(pipe, 'wb', closefd=False).write({garbage})")
    assert leg(do, told.append).last_step == 7
    assert told == [Step(1)]


@pytest.mark.parametrize(
    "result",
    [
        '{"event": "result"}',
        '{"event": "result", "first_step": "a", "last_step": 7, "losses": [], "stopped_by": null}',
        '{"event": "result", "first_step": 0, "last_step": 7, "losses": 5, "stopped_by": null}',
        '{"event": "error"}',
        '{"event": "error", "kind": "data"}',
    ],
)
def test_a_result_that_makes_no_sense_is_a_failure(result: str, leg: Leg) -> None:
    with pytest.raises(LegFailed, match="sent a result that cannot be understood"):
        leg(f"os.write(pipe, {result.encode()!r} + b'\\n'); os._exit(0)")


def test_a_leg_may_print_more_than_anybody_reads(leg: Leg, log: Path) -> None:
    assert leg("sys.stdout.write('x' * 79 + '\\n' * 1); sys.stdout.write(('y' * 79 + '\\n') * 100000)").last_step == 7
    assert log.stat().st_size == 80 * 100001


def test_the_last_words_are_those_of_this_leg(leg: Leg) -> None:
    leg("print('words of the first')")
    with pytest.raises(LegFailed, match=r"without a result$"):
        leg("os._exit(1)")


def test_the_last_words_are_short_and_of_one_line(leg: Leg) -> None:
    with pytest.raises(LegFailed) as caught:
        leg("print('z' * 100000); print('  end  '); print(); sys.stdout.flush(); os._exit(1)")
    assert caught.value.reason.endswith("last output: end")
    with pytest.raises(LegFailed) as caught:
        leg("sys.stdout.write('z' * 100000); sys.stdout.flush(); os._exit(1)")
    assert len(caught.value.reason) < 5000


def test_a_log_that_has_grown_large_is_put_aside_once(leg: Leg, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_process, "_LARGEST_LOG", 5)
    for text in ("first one", "second", "third"):
        leg(f"print({text + '...'!r})")
    assert log.read_text() == "third...\n"
    assert log.with_name("training.log.1").read_text() == "second...\n"
    assert sorted(os.listdir(log.parent)) == ["training.log", "training.log.1"]


@pytest.mark.parametrize("blocked", ["directory", "link", "fifo", "no directory"])
def test_where_no_log_can_be_written_training_goes_on(blocked: str, leg: Leg, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("not ours\n")
    if blocked == "no directory":
        log.parent.write_text("a file")
    else:
        log.parent.mkdir()
    if blocked == "directory":
        log.mkdir()
    elif blocked == "link":
        log.symlink_to(target)
    elif blocked == "fifo":
        os.mkfifo(log)
    assert leg("print('hello')").last_step == 7
    with pytest.raises(LegFailed, match=r"without a result$"):
        leg("print('hello', flush=True); os._exit(1)")
    assert target.read_text() == "not ours\n"


def test_without_a_log_what_is_printed_goes_where_errors_go(leg: Leg, capfd: pytest.CaptureFixture[str]) -> None:
    leg("print('for people')", log=None)
    assert capfd.readouterr() == ("", "for people\n")


def test_a_worker_that_is_left_behind_neither_holds_the_audit_up_nor_lives_on(leg: Leg, tmp_path: Path) -> None:
    left = tmp_path / "left"
    do = f"""
child = os.fork()
if not child:
    time.sleep(600)
open({str(left)!r}, "w").write(str(child))
tell(Step(2))
os.kill(os.getpid(), signal.SIGKILL)
"""
    with pytest.raises(LegFailed, match="SIGKILL"):
        leg(do)
    worker = int(left.read_text())
    for _ in range(200):
        try:
            state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, 0)
                time.sleep(0.05)
                continue
            return
        if state in "ZX":
            return
        time.sleep(0.05)
    pytest.fail("it lives on")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_handlers_are_put_back(number: signal.Signals, leg: Leg) -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    do = f"""
came = []
signal.signal({int(number)}, lambda number, frame: came.append(number))
tell(Step(1))
while not came:
    time.sleep(0.01)
tell(Phase(str(came)))
"""
    told: list[Progress] = []

    def when(event: Progress) -> None:
        told.append(event)
        if isinstance(event, Step):
            os.kill(os.getpid(), number)

    assert leg(do, when).last_step == 7
    assert told[-1] == Phase(str([int(number)]))
    assert {one: signal.getsignal(one) for one in before} == before


def test_where_whoever_listens_fails_the_leg_is_ended(leg: Leg, tmp_path: Path) -> None:
    class Enough(BaseException):
        pass

    def when(event: Progress) -> None:
        assert isinstance(event, Phase)
        raise Enough(int(event.text))

    with pytest.raises(Enough) as caught:
        leg("tell(Phase(str(os.getpid()))); time.sleep(600)", when)
    with pytest.raises(ProcessLookupError):
        os.kill(caught.value.args[0], 0)


def test_a_python_that_cannot_be_started_is_a_failure(leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LegFailed, match="cannot be started: No such file or directory"):
        leg()


def test_no_descriptor_is_left_open(leg: Leg) -> None:
    place = Path("/proc/self/fd")
    if not place.exists():
        pytest.skip("no /proc here")
    leg()
    before = len(os.listdir(place))
    leg()
    with pytest.raises(LegFailed):
        leg("os._exit(1)")
    assert len(os.listdir(place)) == before
