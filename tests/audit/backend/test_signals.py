import os
import signal
import threading

from audit.backend.signals import caught


def test_a_signal_is_caught_inside_and_the_old_handler_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[int] = []
    with caught(lambda number, frame: seen.append(number)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert seen == [signal.SIGTERM, signal.SIGINT]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_exception_of_the_handler_leaves_the_block_and_puts_the_old_one_back() -> None:
    class Stop(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stop

    before = signal.getsignal(signal.SIGTERM)
    try:
        with caught(stop, [signal.SIGTERM]):
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal did nothing")
    except Stop:
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_changes() -> None:
    found: list[object] = []

    def run() -> None:
        with caught(lambda number, frame: None):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
