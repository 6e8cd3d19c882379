"""Two processes, as two threads, rehearse one run: process 0 decides, says and records; both end with the same code."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from audit.backend.rehearsal import Rehearsal, RehearsalRequest
from audit.backend.training import Alone, LegFailed, Team, Tell
from audit.errors import AuditError
from audit.rehearsal.report import RehearsalReport
from audit.training import rehearsal_together
from audit.training.config import read_train_config
from audit.training.rehearsal import Asked
from audit.training.rehearsal_together import rehearse_together
from tests.audit.training.stage import Rehearsing, Stage
from tests.audit.training.test_together import Two, in_both
from tests.audit.training.toy import Toy


class Pair(Rehearsing):
    """Rehearses in two threads; ``act`` is what each of them does first."""

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.own = threading.local()
        self.act: Callable[[int], None] = lambda rank: None

    def team(self, settings: Mapping[str, Any]) -> AbstractContextManager[Team]:
        return nullcontext(getattr(self.own, "team", Alone()))

    def rehearse(self, request: RehearsalRequest, tell: Tell) -> Rehearsal:
        self.act(self.own.team.rank)
        return super().rehearse(request, tell)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """One file of 12 examples: steps 1 to 6, saved every 3 steps."""
    monkeypatch.setattr(rehearsal_together, "GRACE_SECONDS", 0.0)
    found = Stage(tmp_path)
    found.use(Pair(found.run))
    found.drop("a.jsonl", list(range(12)))
    assert found.train() == 0
    return found


def both(shop: Stage, **asked: Any) -> tuple[list[Any], list[RehearsalReport]]:
    """The exit code of each, or what it raised; and the reports that were shown."""
    barrier, held = threading.Barrier(2), {}  # type: ignore[var-annotated]
    results: list[Any] = [None, None]
    shown: list[RehearsalReport] = []
    backend: Any = shop.backend

    def process(rank: int) -> None:
        backend.own.team = Two(rank, barrier, held)
        config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
        try:
            results[rank] = rehearse_together(config, trainer, shop.registry, Asked("3", **asked), shown.append)
        except BaseException as error:
            results[rank] = error

    in_both(process)
    return results, shown


def test_both_train_the_same_steps_and_one_says_and_records_it(shop: Stage) -> None:
    codes, (report,) = both(shop)
    assert codes == [0, 0]
    assert (report.same, report.judgement.steps) == (True, 3)
    first, second = shop.backend.asked
    assert first == second
    assert not Path(first.leg.run).exists()
    assert [row.checkpoint for row in shop.recorded()] == ["checkpoint-3"]


def test_what_differs_is_the_code_of_both(shop: Stage) -> None:
    shop.backend.change = lambda found: found._replace(steps=found.steps[:1])
    codes, (report,) = both(shop)
    assert codes == [1, 1]
    assert not report.same


def test_what_cannot_be_rehearsed_is_said_by_one_and_ends_the_other(shop: Stage) -> None:
    (shop.run / "checkpoint-3" / "trainer_state.json").unlink()
    (error, code), shown = both(shop)
    assert isinstance(error, AuditError)
    assert "was not written to its end" in str(error)
    assert (code, shown, shop.backend.asked) == (2, [], [])


def fails(rank: int) -> Callable[[int], None]:
    def act(own: int) -> None:
        if own == rank:
            raise LegFailed("burnt")

    return act


def test_a_failure_of_process_0_ends_both(shop: Stage) -> None:
    shop.backend.act = fails(0)  # type: ignore[attr-defined]
    (error, code), shown = both(shop)
    assert str(error) == "checkpoint-3: could not be rehearsed: burnt"
    assert (code, shown) == (2, [])


def test_a_failure_of_the_other_is_said_there_and_is_no_success(
    shop: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.backend.act = fails(1)  # type: ignore[attr-defined]
    codes, _ = both(shop)
    assert codes == [0, 2]
    assert capsys.readouterr().err == "audit rehearse: process 1: burnt\n"


def test_processes_of_several_machines_are_refused(shop: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    (error, code), _ = both(shop)
    assert "1 of 2 processes are on this machine" in str(error)
    assert (code, shop.backend.asked) == (2, [])


def test_a_part_that_takes_too_long_ends_its_process(
    shop: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    late, codes = threading.Event(), []

    def leave(code: int) -> None:
        codes.append(code)
        if len(codes) == 2:
            late.set()

    monkeypatch.setattr("os._exit", leave)
    shop.backend.act = lambda rank: late.wait(20) and None  # type: ignore[attr-defined]
    both(shop, timeout=0.2)
    assert codes == [2, 2]
    assert capfd.readouterr().err == "audit rehearse: checkpoint-3: it took longer than 0.2 s, and was ended\n"


def test_a_backend_that_cannot_rehearse_is_refused_before_the_processes_meet(shop: Stage) -> None:
    shop.use(Toy())
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    with pytest.raises(AuditError, match="cannot rehearse"):
        rehearse_together(config, trainer, shop.registry, Asked("3"), lambda report: None)
