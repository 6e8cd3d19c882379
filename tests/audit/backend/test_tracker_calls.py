"""A call that waits for a silent server ends in time for whoever made it, and the tracker that is late is known."""

import contextvars
import threading

import pytest

from audit.backend.tracker_calls import asked_by, asking, in_thread, within


def test_what_is_returned_and_raised_is_that_of_the_call() -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert within(60, lambda: 7) == 7
    assert within(60, lambda: None) is None
    with pytest.raises(SystemExit):
        within(60, leave)


def test_a_call_that_is_late_is_left_behind() -> None:
    answers = threading.Event()
    with pytest.raises(TimeoutError, match=r"^it took longer than 0\.05 s$"):
        within(0.05, answers.wait)
    answers.set()


def test_the_thread_has_the_context_of_the_one_that_starts_it() -> None:
    open_run = contextvars.ContextVar("open_run", default="none")
    open_run.set("mine")
    assert within(60, open_run.get) == "mine"


def test_the_tracker_that_a_thread_asks_is_known_while_it_does() -> None:
    reached, answers = threading.Event(), threading.Event()

    def call() -> None:
        with asking("trackio"):
            with asking("mlflow"):
                reached.set()
                answers.wait()
            reached.clear()

    thread = in_thread(call)
    assert reached.wait(60)
    assert asked_by(thread) == "mlflow"
    assert asked_by(threading.current_thread()) == ""
    answers.set()
    thread.join()
    assert asked_by(thread) == ""
