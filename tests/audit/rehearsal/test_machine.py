"""What decides whether a step has the same result bit for bit."""

from importlib.metadata import version

import pytest

from audit.rehearsal.machine import changed, machine


def test_it_names_processor_cores_and_versions() -> None:
    found = machine(("pytest", "no-such-distribution"))
    assert found["pytest"] == version("pytest")
    assert "no-such-distribution" not in found
    assert found["processor"]
    assert int(found["cores"]) >= 1


def test_it_is_the_same_twice() -> None:
    assert changed(machine(("pytest",)), machine(("pytest",))) is None


def test_the_number_of_threads_is_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine(())
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert changed(before, machine(())) is not None


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ({"torch": "2.0"}, {"torch": "2.1"}, "torch 2.0 then, 2.1 now"),
        ({"torch": "2.0"}, {}, "torch 2.0 then, not there now"),
        ({}, {"gpu": "H100"}, "gpu not there then, H100 now"),
    ],
)
def test_what_is_another_one_is_named(before: dict[str, str], now: dict[str, str], text: str) -> None:
    assert changed(before, now) == text
