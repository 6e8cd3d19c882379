"""The pool calls everything that it is given, in no more threads than it may have, and keeps no program from ending."""

import subprocess
import sys
import threading
import time

import pytest

from audit_remote.waiting import Pool


def test_everything_is_called_in_a_few_threads() -> None:
    pool = Pool(3)
    names: set[str] = set()

    def call(number: int) -> int:
        names.add(threading.current_thread().name)
        time.sleep(0.001)
        return number * 2

    futures = [pool.submit(lambda number=number: call(number)) for number in range(50)]  # type: ignore[misc]

    assert [future.result(10) for future in futures] == [number * 2 for number in range(50)]
    assert 1 <= len(names) <= 3


def test_an_exception_is_that_of_the_caller_and_the_thread_goes_on() -> None:
    pool = Pool(1)

    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(10)
    assert pool.submit(lambda: 1).result(10) == 1


def test_what_was_cancelled_is_not_called() -> None:
    pool, begun, go = Pool(1), threading.Event(), threading.Event()
    called: list[int] = []

    def wait() -> None:
        begun.set()
        go.wait(10)

    first = pool.submit(wait)
    second = pool.submit(lambda: called.append(2))
    assert begun.wait(10)
    assert second.cancel()
    go.set()
    first.result(10)
    pool.submit(lambda: None).result(10)

    assert called == []


def test_a_call_that_never_returns_does_not_keep_the_program_from_ending() -> None:
    code = (
        "from audit_remote.waiting import Pool; import time, threading; begun = threading.Event();"
        "Pool(1).submit(lambda: (begun.set(), time.sleep(600))); begun.wait()"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
