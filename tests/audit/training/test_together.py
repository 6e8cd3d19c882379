"""Two processes, as two threads: what ends process 0 ends the other, with the same code and no second message."""

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from audit.backend.training import Alone, LegFailed
from audit.errors import AuditError, ConfigError
from audit.training import together
from audit.training.run_state import TrainRefused
from audit.training.together import Ended, Together
from audit.training.training_process import Stopped

T = TypeVar("T")


class Two:
    """One of two processes, as a backend would make it: of an AuditError only the text reaches the others."""

    size = 2

    def __init__(self, rank: int, barrier: threading.Barrier, held: dict[str, Any]) -> None:
        self.rank, self._barrier, self._held = rank, barrier, held

    def share(self, decide: Callable[[], T]) -> T:
        self._meet()
        if self.rank == 0:
            try:
                self._held["said"] = (True, decide())
            except AuditError as error:
                self._held["said"] = (False, str(error))
        self._meet()
        good, value = self._held["said"]
        if not good:
            raise AuditError(value)
        found: T = value
        return found

    def _meet(self) -> None:
        try:
            self._barrier.wait(20)
        except threading.BrokenBarrierError as error:
            raise AuditError("another process has ended") from error


def in_both(process: Callable[[int], None]) -> None:
    """Run both processes, each in a thread, to their ends."""
    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def both(
    decide: Callable[[], Any],
    outcomes: tuple[LegFailed | None, LegFailed | None] = (None, None),
    prepare: Callable[[Together], None] = lambda team: None,
    absent: bool = False,
) -> list[Any]:
    """What ``share`` returned or raised on each of the two."""
    barrier = threading.Barrier(2)
    held: dict[str, Any] = {}
    results: list[Any] = [None, None]

    def process(rank: int) -> None:
        if absent and rank == 1:
            barrier.abort()
            return
        team = Together(Two(rank, barrier, held))
        prepare(team)
        try:
            results[rank] = team.share(decide, outcomes[rank])
        except BaseException as error:
            results[rank] = error

    in_both(process)
    return results


def raising(error: BaseException) -> Callable[[], Any]:
    def decide() -> Any:
        raise error

    return decide


def test_what_process_0_decides_reaches_the_other() -> None:
    assert both(lambda: [1, 2]) == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrainRefused("a.jsonl: no"), 1),
        (AuditError("cannot"), 2),
        (ConfigError("key"), 2),
        (LegFailed("burnt"), 2),
        (KeyError("a fault of ours"), 2),
        (MemoryError(), 2),
        (Stopped(), 143),
        (KeyboardInterrupt(), 130),
        (SystemExit(3), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_ends_process_0_ends_the_other_with_the_same_code(error: BaseException, code: int) -> None:
    first, second = both(raising(error))
    assert first is error
    assert isinstance(second, Ended)
    assert second.code == code


@pytest.mark.parametrize(("number", "kind", "code"), [(15, Stopped, 143), (2, KeyboardInterrupt, 130)])
def test_a_signal_that_came_between_two_decisions_is_heard_at_the_next_by_both(
    number: int, kind: type[BaseException], code: int
) -> None:
    decided: list[int] = []
    first, second = both(lambda: decided.append(1), prepare=lambda team: team.came.append(number))
    assert type(first) is kind
    assert isinstance(second, Ended)
    assert second.code == code
    assert decided == []


def test_where_the_other_process_is_gone_a_failed_leg_is_recorded_all_the_same() -> None:
    refused, recorded = TrainRefused("a.jsonl: failed at step 3: connection reset"), []

    def conclude() -> None:
        recorded.append(1)
        raise refused

    first, _ = both(conclude, (LegFailed("connection reset"), None), absent=True)
    assert first is refused
    assert recorded == [1]


def test_where_the_other_process_is_gone_nothing_is_decided_on_a_leg_that_went_well() -> None:
    decided: list[int] = []
    first, _ = both(lambda: decided.append(1), absent=True)
    assert str(first) == "another process has ended"
    assert decided == []


def test_a_failure_that_all_processes_have_is_decided_once() -> None:
    failed = LegFailed("burnt"), LegFailed("burnt")
    first, second = both(raising(TrainRefused("a.jsonl: burnt")), failed)
    assert isinstance(first, TrainRefused)
    assert isinstance(second, Ended)


def test_a_process_whose_leg_failed_alone_says_so_and_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    barrier, ended = threading.Barrier(2), threading.Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        barrier.abort()
        ended.set()

    monkeypatch.setattr(together, "PATIENCE", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(AuditError, match="has ended"):
        Together(Two(1, barrier, {})).share(lambda: None, LegFailed("CUDA out of\nmemory"))
    assert ended.wait(20)
    assert codes == [1]
    assert capsys.readouterr().err == "audit train: process 1: CUDA out of memory\n"


def test_alone_everything_is_as_it_is() -> None:
    team = Together(Alone())
    assert team.share(lambda: 7) == 7
    with pytest.raises(KeyError):
        team.share(raising(KeyError("x")), LegFailed("burnt"))
