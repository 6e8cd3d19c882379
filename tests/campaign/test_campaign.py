"""Random damage to runs of every layout, one at a time and in pairs: what must hold whatever was damaged.

``tox run -e campaign -- tests/campaign`` tries thousands, ``--update-faults`` writes docs/campaign.md. The same damages
each time: the seed is the layout and the number. ``AUDIT_CAMPAIGN`` multiplies how many are tried; the page is about
the first part of them, whatever that is.
"""

import os
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from audit.manager import load
from tests.campaign.instances import Bench, Judged, serious
from tests.campaign.layouts import LAYOUTS
from tests.campaign.operators import OPERATORS, Inapplicable
from tests.campaign.page import Pair, current, put

TIMES = int(os.environ.get("AUDIT_CAMPAIGN", "1"))
ROUNDS = 2
"""How often each operator is tried on each layout, for the page."""
PAIRS = 16
SINGLES: dict[str, list[Judged]] = {}
BOTH: dict[str, list[Pair]] = {}
HARMLESS = [title for title, kind in OPERATORS.items() if kind.harmless]
HARMFUL = [title for title, kind in OPERATORS.items() if not kind.harmless]


def bench(name: str, place: Path) -> Bench:
    return Bench(LAYOUTS[name], place, load())


def tried(bench: Bench, name: str, operators: list[str], rounds: range) -> list[Judged]:
    """Try each operator once in each round."""
    found = []
    for number in rounds:
        for title in operators:
            draw = bench.drawn(title, Random(f"{name} {title} {number}"))
            if draw is not None:
                found.append(bench.judge(draw))
    return found


def held(judged: list[Judged]) -> list[tuple[str, str, tuple[str, ...]]]:
    """What did not hold, and where."""
    return [(item.draw.operator, item.file, item.problems) for item in judged if item.problems]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_clean_run_has_no_finding(name: str, tmp_path: Path) -> None:
    runs = bench(name, tmp_path)

    assert serious(runs.verify(runs.clean)) == ()
    assert serious(runs.verify(runs.sealed, ledger=True)) == ()


def test_a_sample_of_damages(tmp_path: Path) -> None:
    """Some of each kind, so that a change is held to the invariants at once; the slow test tries every layout."""
    for number, name in enumerate(("lora", "zero-2", "lightning")):
        runs = bench(name, tmp_path / name)
        assert held(tried(runs, name, list(OPERATORS)[number::9], range(1))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_single_damages(name: str, tmp_path: Path) -> None:
    runs = bench(name, tmp_path)
    SINGLES[name] = tried(runs, name, list(OPERATORS), range(ROUNDS))

    assert held(SINGLES[name]) == []
    assert held(tried(runs, name, list(OPERATORS), range(ROUNDS, TIMES * ROUNDS))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_pairs_of_damages(name: str, tmp_path: Path) -> None:
    runs = bench(name, tmp_path)
    found: list[Pair] = []
    for number in range(TIMES * PAIRS):
        if number == PAIRS:
            BOTH[name] = list(found)
        chance = Random(f"{name} pair {number}")
        one = runs.drawn(chance.choice(HARMFUL), chance)
        two = runs.drawn(chance.choice(HARMFUL), chance, one) if one else None
        if one is not None and two is not None:
            with suppress(Inapplicable):  # the first has left nothing for the second to do
                found.append(Pair(one.operator, two.operator, *runs.judge_pair(one, two)))
    BOTH.setdefault(name, found)

    assert [pair for pair in found if pair.problems] == []


@pytest.mark.slow
def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if len(SINGLES) < len(LAYOUTS) or len(BOTH) < len(LAYOUTS):
        pytest.skip("not every layout was tried in this process")
    if request.config.getoption("--update-faults"):
        put(SINGLES, BOTH)
    assert current(SINGLES, BOTH), "run `tox run -e campaign -- tests/campaign --update-faults`"
