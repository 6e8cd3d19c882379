"""Legs in processes of their own: one process trains on where it has ended, and nothing else."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import Judged, LegData, LegFailed, LegRequest, LegResult, Phase, Progress
from audit.errors import AuditError
from audit.training import training_process
from audit.training.process import InChild
from audit.training.tracking import Found
from tests.audit.training.toy import Toy

ROOT = Path(__file__).parents[3]
PLUGIN = """
import os, signal, sys, time
from contextlib import contextmanager
from audit.hookspecs import hookimpl
from audit.backend.training import BadData, LegFailed, LegResult, OpenTrackers, Phase
from tests.audit.training.toy import Toy

class Lasting(Toy):
    name = "lasting"

    def train(self, request, tell):
        tell(Phase(str(os.getpid())))
        scope = {"stopped": None}
        exec(request.data.options.get("do", ""), globals(), scope)
        return LegResult(request.first_step, request.first_step + 5, (), scope["stopped"])

    @contextmanager
    def trackers(self, without):
        yield OpenTrackers([], {})

@hookimpl
def audit_training_backends():
    return [Lasting()]

@hookimpl
def audit_legs_judged(judged, since):
    exec(since, globals())
    return {"board": f"{os.getpid()} {[item.step for item in judged]}"}
"""


class Lasting(Toy):
    name = "lasting"

    def one_process(self, settings: dict[str, Any]) -> bool:
        return bool(settings.get("keep", True))

    def tracks(self, settings: dict[str, Any]) -> bool:
        return bool(settings.get("tracked"))


class Legs:
    """Five steps each; ``pids`` are the processes that trained them."""

    def __init__(self, run: Path) -> None:
        self.run, self.pids = str(run), list[int]()
        self.in_child = InChild(log=str(run / ".audit" / "training.log"))

    def __call__(self, step: int, do: str = "", seed: int = 0, run: str = "", **settings: Any) -> LegResult:
        run = run or self.run
        place = os.path.join(run, f"checkpoint-{step}") if step else None
        request = LegRequest(run, place, step, None, LegData("a", options={"do": do}), settings, seed)
        return self.in_child(Lasting(), request, self._tell)

    def log(self, do: str = "", judged: bool = True, seconds: float = 20.0) -> Mapping[str, str]:
        """Have the process of the last leg log; ``do`` is done there."""
        found = Found([Judged(5, "sound", 0, 0, 5)] if judged else [], do, seconds=seconds)
        request = LegRequest(self.run, None, 0, None, LegData("a"))
        return self.in_child.log(Lasting(), request, found)

    def _tell(self, event: Progress) -> None:
        assert isinstance(event, Phase)
        self.pids.append(int(event.text))


@pytest.fixture
def legs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Legs]:
    info = tmp_path / "plugins" / "lasting-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lasting\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[audit]\nlasting = lasting_plugin\n")
    (tmp_path / "plugins" / "lasting_plugin.py").write_text(PLUGIN)
    rooms = (tmp_path / "plugins", ROOT, ROOT / "backends", ROOT / "plugins")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, rooms)))
    made = Legs(tmp_path)
    with made.in_child:
        yield made
    assert not any(map(alive, made.pids))


def alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def test_a_leg_that_goes_on_where_the_last_one_ended_has_the_same_process(legs: Legs) -> None:
    assert [legs(step).last_step for step in (0, 5, 10)] == [5, 10, 15]
    assert len(set(legs.pids)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"step": 0},
        {"step": 3},
        {"step": 5, "seed": 1},
        {"step": 5, "rate": 2},
        {"step": 5, "run": "/elsewhere"},
    ],
    ids=["from scratch", "another step", "another seed", "other settings", "another run"],
)
def test_any_other_leg_has_a_new_one_and_the_old_one_is_ended(other: dict[str, Any], legs: Legs) -> None:
    legs(0)
    legs(**other)
    first, second = legs.pids
    assert first != second
    assert not alive(first)


def test_a_backend_that_does_not_allow_it_has_a_new_one_each_time(legs: Legs) -> None:
    legs(0, keep=False)
    legs(5, keep=False)
    assert not any(map(alive, legs.pids))
    assert len(set(legs.pids)) == 2


@pytest.mark.parametrize("do", ["raise BadData('a', 1, 'is bad')", "raise LegFailed('it burns')", "os._exit(3)"])
def test_a_leg_that_fails_ends_it(do: str, legs: Legs) -> None:
    legs(0)
    with pytest.raises(Exception, match=r"is bad|it burns|code 3"):
        legs(5, do)
    assert not alive(legs.pids[0])
    legs(5)
    assert legs.pids[0] == legs.pids[1] != legs.pids[2]


def test_a_leg_that_was_stopped_ends_it(legs: Legs) -> None:
    assert legs(0, f"stopped = {int(signal.SIGTERM)}").stopped_by == signal.SIGTERM
    assert not alive(legs.pids[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_one_that_dies_while_it_waits_is_replaced(number: int, legs: Legs) -> None:
    legs(0)
    os.kill(legs.pids[0], number)
    os.waitid(os.P_PID, legs.pids[0], os.WEXITED | os.WNOWAIT)
    assert legs(5).last_step == 10
    assert legs.pids[0] != legs.pids[1]


def test_what_a_leg_printed_last_is_not_taken_for_words_of_the_next(legs: Legs) -> None:
    legs(0, "print('words of the first')")
    with pytest.raises(LegFailed, match=r"without a result$"):
        legs(5, "os._exit(1)")
    legs(5)
    with pytest.raises(LegFailed, match="last output: words of the second"):
        legs(10, "print('words of the second', flush=True); os._exit(1)")


def test_nobody_answers_what_is_asked(legs: Legs) -> None:
    legs(0)
    with pytest.raises(LegFailed, match="EOFError"):
        legs(5, "input('trust this code? ')")


def test_a_log_that_has_grown_large_makes_it_leave(legs: Legs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_process, "_LARGEST_LOG", 5)
    legs(0, "print('a long line')")
    legs(5)
    assert len(set(legs.pids)) == 2


def test_it_is_let_go_when_it_has_waited_long_enough(legs: Legs) -> None:
    legs(0)
    legs.in_child.rest(60)
    assert alive(legs.pids[0])
    legs.in_child.rest(0)
    assert not alive(legs.pids[0])
    legs(5)
    assert len(set(legs.pids)) == 2


def test_one_that_does_not_end_by_itself_is_killed(legs: Legs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_process, "_LEAVE", 0.1)
    legs(0, "import atexit; atexit.register(time.sleep, 600)")
    legs.in_child.close()
    assert not alive(legs.pids[0])


def test_one_that_ends_by_itself_may_say_goodbye(legs: Legs, tmp_path: Path) -> None:
    legs(0, f"import atexit; atexit.register(open, {str(tmp_path / 'bye')!r}, 'w')")
    legs.in_child.close()
    assert (tmp_path / "bye").exists()


def test_where_whoever_listens_fails_it_is_ended(legs: Legs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(BaseException):
        pass

    def enough(event: Progress) -> None:
        assert isinstance(event, Phase)
        legs.pids.append(int(event.text))
        raise Enough

    legs(0)
    monkeypatch.setattr(legs, "_tell", enough)
    with pytest.raises(Enough):
        legs(5, "time.sleep(600)")
    assert not alive(legs.pids[0])


@pytest.mark.parametrize("keep", [True, False])
def test_what_was_found_is_logged_in_the_process_that_trained(keep: bool, legs: Legs) -> None:
    legs(0, tracked=True, keep=keep)
    assert alive(legs.pids[0])

    assert legs.log() == {"board": f"{legs.pids[0]} [5]"}

    assert alive(legs.pids[0]) is keep
    legs(5, tracked=True, keep=keep)
    assert (legs.pids[0] == legs.pids[1]) is keep


def test_a_process_that_is_not_kept_ends_if_there_is_nothing_to_log(legs: Legs) -> None:
    legs(0, tracked=True, keep=False)
    assert legs.log(judged=False) == {}
    assert not alive(legs.pids[0])


def test_a_tracker_that_does_not_answer_ends_the_process_and_the_next_leg_has_another(legs: Legs) -> None:
    legs(0, tracked=True)
    with pytest.raises(AuditError, match=r"^it took longer than 0\.5 s$"):
        legs.log("time.sleep(60)", seconds=0.5)

    assert not alive(legs.pids[0])
    assert legs.log() == {}
    assert legs(5, tracked=True).last_step == 10


def test_a_process_that_dies_as_it_logs_is_said(legs: Legs) -> None:
    legs(0, tracked=True)
    with pytest.raises(LegFailed, match="the training process has ended meanwhile"):
        legs.log("os._exit(3)")


def test_a_fault_of_the_plugin_is_an_error_and_no_crash(legs: Legs) -> None:
    legs(0, tracked=True)
    with pytest.raises(AuditError, match=r"^ValueError: odd$"):
        legs.log("raise ValueError('odd')")
