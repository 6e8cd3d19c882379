"""The one word for a checkpoint: the list and the page of a run say the same of it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.api import verify
from audit.facts.checkpoint import Checkpoint
from audit.findings import Severity, Violation
from audit.hookspecs import hookimpl
from audit.judging.verification import verify_run
from audit.manager import Registry, load
from audit.options import Options
from audit.rules import Rule
from audit.rules import rule as make_rule
from audit.testing.runs import make_run
from audit.views.curves import curves_of
from audit.views.inspection import inspect


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def listed(run: str, registry: Registry) -> dict[str, tuple[str, str]]:
    """State and reason of each checkpoint in `audit list`."""
    return {name: (found.state, found.reason) for name, found in inspect(run, registry=registry).standings.items()}


def on_the_page(run: str, registry: Registry, depth: str = "quick") -> dict[str, tuple[str, str]]:
    """State and reason of each checkpoint on the page; it has the word "sealed" beside the state."""
    found = verify_run(run, Options(ledger=False, depth=depth), registry=registry)
    marks = curves_of(found.run, found.report).marks
    return {mark.name: ("sealed" if mark.sealed else mark.state, mark.reason) for mark in marks}


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_list_and_page_use_the_same_word_for_every_state(run: str, depth: str) -> None:
    verify(run, Options(settle_seconds=0))
    os.unlink(f"{run}/checkpoint-200/scheduler.pt")
    os.unlink(f"{run}/checkpoint-300/trainer_state.json")
    os.makedirs(f"{run}/checkpoint-400")
    os.utime(f"{run}/checkpoint-400", (1, 1))
    registry = load()

    assert {name: state for name, (state, _) in listed(run, registry).items()} == {
        "checkpoint-100": "sealed",
        "checkpoint-200": "broken",
        "checkpoint-300": "in progress",
        "checkpoint-400": "incomplete",
    }
    assert on_the_page(run, registry, depth) == listed(run, registry)


class Crashing:
    """A plugin with a rule that crashes on every checkpoint."""

    @hookimpl
    def audit_rules(self) -> list[Rule]:
        def crash(checkpoint: Checkpoint) -> Iterator[Violation]:
            raise ZeroDivisionError
            yield

        return [make_rule(Severity.ERROR, remedy="Nothing.", id="made/up")(crash)]


def test_when_a_rule_crashed_both_say_unknown(run: str) -> None:
    verify(run, Options(settle_seconds=0))
    os.unlink(f"{run}/checkpoint-300/optimizer.pt")
    registry = load([Crashing()])

    assert listed(run, registry) == on_the_page(run, registry)
    assert on_the_page(run, registry)["checkpoint-200"] == ("unknown", "rule made/up crashed")
    assert on_the_page(run, registry)["checkpoint-300"] == ("broken", "files/missing-optimizer")


def test_what_was_touched_since_is_no_longer_sealed_until_it_is_read(run: str) -> None:
    verify(run, Options(settle_seconds=0))
    later = time.time() + 5
    os.utime(f"{run}/checkpoint-200/optimizer.pt", (later, later))
    registry = load()

    assert listed(run, registry)["checkpoint-200"] == ("resumable", "sealed, but touched since")
    assert on_the_page(run, registry) == listed(run, registry)
    assert on_the_page(run, registry, "full")["checkpoint-200"] == ("sealed", "")  # every byte was read just now


def test_what_this_verification_sealed_is_sealed(run: str) -> None:
    found = verify_run(run, Options(settle_seconds=0))

    assert [mark.sealed for mark in curves_of(found.run, found.report).marks] == [True, True, True]
