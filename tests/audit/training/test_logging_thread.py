"""What is logged holds nobody longer than its limit, and what it says reaches who asked, in the order of the calls."""

import contextvars
import threading
from collections.abc import Iterator, Mapping

import pytest

from audit.backend.tracker_calls import asking
from audit.errors import AuditError
from audit.training import logging_thread
from audit.training.logging_thread import Call, LoggingThread

EVER = 3600.0


class Silent:
    """A tracker that does not answer until it is let go; ``reached``: it was asked."""

    def __init__(self) -> None:
        self.reached, self.answers = threading.Event(), threading.Event()

    def __call__(self) -> Mapping[str, str]:
        self.reached.set()
        self.answers.wait()
        return {"board": "at last"}


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.answers.set()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_thread, "PAUSE", 0.0)


def raising(error: BaseException) -> Call:
    def call() -> Mapping[str, str]:
        raise error

    return call


def nothing() -> None:
    """There is no call."""


def test_what_a_tracker_answers_at_once_is_known_at_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_thread, "PAUSE", EVER)
    thread = LoggingThread()
    assert thread.at_step(lambda: (lambda: {"board": "full"}, EVER)) == {"board": "full"}
    assert thread.at_step(nothing) is None


def test_the_training_goes_on_and_hears_of_it_later_while_nothing_else_is_logged(silent: Silent) -> None:
    thread = LoggingThread()
    asked: list[str] = []
    assert thread.at_step(lambda: (silent, EVER)) is None
    silent.reached.wait()
    assert thread.at_step(lambda: asked.append("meanwhile")) is None
    assert not asked

    silent.answers.set()
    assert thread.ended() == {"board": "at last"}
    assert thread.ended() is None
    thread.at_step(lambda: asked.append("then"))
    assert asked == ["then"]


def test_one_that_is_late_is_said_once_and_nothing_is_logged_after_it(silent: Silent) -> None:
    thread = LoggingThread()
    assert thread.at_step(lambda: (silent, EVER)) is None
    thread._ends = 0.0  # the time is over

    assert thread.at_step(nothing) == {"": "it took longer than 3600 s"}
    asked: list[str] = []
    assert thread.at_step(lambda: asked.append("again")) is None
    assert not asked
    with pytest.raises(AuditError, match=r"^it took longer than 3600 s$"):
        thread.log(dict, EVER)


def test_at_the_end_both_are_waited_for(silent: Silent) -> None:
    thread = LoggingThread()
    thread.at_step(lambda: (silent, EVER))
    threading.Timer(0.05, silent.answers.set).start()

    assert thread.log(lambda: {"other": "full"}, EVER) == {"board": "at last", "other": "full"}


@pytest.mark.parametrize("before", [True, False], ids=["one of a save", "that of the leg"])
def test_at_the_end_nobody_waits_longer_than_the_limit(before: bool, silent: Silent) -> None:
    thread = LoggingThread()
    called: list[str] = []
    if before:
        thread.at_step(lambda: (silent, EVER))
    with pytest.raises(AuditError, match=r"^it took longer than 0\.05 s$"):
        thread.log(lambda: called.append("after") or {} if before else silent(), 0.05)  # type: ignore[func-returns-value]
    assert not called


@pytest.mark.parametrize(
    ("error", "said"), [(AuditError("odd"), "odd"), (SystemExit(3), "SystemExit"), (ValueError("x"), "ValueError")]
)
def test_whatever_is_raised_is_an_answer(error: BaseException, said: str) -> None:
    thread = LoggingThread()
    assert (thread.at_step(lambda: (raising(error), EVER)) or thread.ended()) == {"": said}
    with pytest.raises(AuditError, match=rf"^{said}$"):
        thread.log(raising(error), EVER)


def test_the_context_is_that_of_who_asks() -> None:
    """Trackio finds its run there."""
    current = contextvars.ContextVar("current", default="none")
    current.set("the run of the training")
    thread = LoggingThread()
    assert thread.log(lambda: {"board": current.get()}, EVER) == {"board": "the run of the training"}


def test_the_tracker_that_is_late_is_named(silent: Silent) -> None:
    def call() -> Mapping[str, str]:
        with asking("mlflow"):
            return silent()

    thread = LoggingThread()
    with pytest.raises(AuditError, match=r"^mlflow: it took longer than 0\.05 s$"):
        thread.log(call, 0.05)
