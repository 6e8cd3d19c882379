"""A command and an address are told, however they behave; what went wrong is said without a secret of the address."""

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from audit.training import delivery
from audit.training.delivery import Delivery, NotToldError, host_of
from audit.training.notify_config import Notify
from tests.audit.training.listener import listening

pytest.importorskip("httpx2", reason="the extra notify is not installed")
pytest.importorskip("tenacity", reason="the extra notify is not installed")

EVENT = {"event": "refused", "reason": "no"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.02)


def deliver(settings: Notify) -> None:
    made = Delivery(settings)
    (way,) = made.ways.values()
    made.deliver(way, EVENT)


def refused(settings: Notify) -> str:
    with pytest.raises(NotToldError) as caught:
        deliver(settings)
    for text in (str(caught.value), *Delivery(settings).ways):
        assert "s3cret" not in text
        assert "hush" not in text
    return str(caught.value)


def test_an_address_is_sent_the_event_as_json() -> None:
    with listening() as listener:
        deliver(Notify(url=listener.url))
        assert listener.told == [EVENT]
        assert listener.paths == ["/hooks/s3cret?key=s3cret"]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_an_answer_that_may_pass_is_tried_again(status: int) -> None:
    with listening(lambda number: status if number < 3 else 204) as listener:
        deliver(Notify(url=listener.url, tries=3))
        assert listener.told == [EVENT] * 3
    with listening(lambda number: status) as listener:
        assert refused(Notify(url=listener.url, tries=2)) == f"answered {status}"
        assert len(listener.told) == 2


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410])
def test_an_answer_that_will_not_pass_is_not_tried_again_and_no_redirect_is_followed(status: int) -> None:
    with listening(lambda number: status) as listener:
        assert refused(Notify(url=listener.url)) == f"answered {status}"
        assert len(listener.told) == 1


def test_a_server_that_never_answers_is_left_after_the_timeout() -> None:
    with listening(lambda number: None) as listener:
        started = time.monotonic()
        assert refused(Notify(url=listener.url, tries=2, timeout_seconds=0.2)) == "no answer within 0.2 s"
        assert time.monotonic() - started < 10
        assert len(listener.told) == 2


def test_an_answer_without_an_end_is_not_read() -> None:
    with listening(lambda number: 299) as listener:
        deliver(Notify(url=listener.url, timeout_seconds=5))
        assert len(listener.told) == 1


def test_a_slow_server_is_waited_for() -> None:
    with listening(delay=0.3) as listener:
        deliver(Notify(url=listener.url, timeout_seconds=5, tries=1))
        assert len(listener.told) == 1


def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:hush@127.0.0.1:{taken.getsockname()[1]}/s3cret"
        assert refused(Notify(url=url, tries=2)) == "cannot be reached (ConnectError)"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example.org/services/T0/B0/s3cret", "https://hooks.example.org"),
        ("https://user:hush@example.org:8443/s3cret", "https://example.org:8443"),
    ],
)
def test_of_an_address_only_the_host_is_shown(url: str, host: str) -> None:
    assert host_of(url) == host


def command(tmp_path: Path, script: str, tries: int = 4, timeout_seconds: float = 20.0) -> Notify:
    (tmp_path / "tell.py").write_text(script)
    argv = (sys.executable, "tell.py")
    return Notify(command=argv, home=str(tmp_path), tries=tries, timeout_seconds=timeout_seconds)


def test_a_command_reads_the_event_beside_the_configuration(tmp_path: Path) -> None:
    deliver(command(tmp_path, "import sys; open('told', 'w').write(sys.stdin.read())"))
    assert json.loads((tmp_path / "told").read_text()) == EVENT


def test_a_command_that_fails_is_tried_again(tmp_path: Path) -> None:
    script = "import sys\nwith open('tries', 'a') as f: f.write('x')\nsys.exit(len(open('tries').read()) < 3)"
    deliver(command(tmp_path, script, tries=3))
    assert (tmp_path / "tries").read_text() == "xxx"
    (tmp_path / "tries").unlink()
    assert refused(command(tmp_path, script, tries=2)) == "ended with code 1"


def test_a_command_that_is_not_there_is_not_tried_again() -> None:
    made = Delivery(Notify(command=("/nowhere/tell",)))
    with pytest.raises(NotToldError, match="cannot be started: No such file") as caught:
        made.deliver(made.ways["tell"], EVENT)
    assert not caught.value.passing


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('pid', 'w').write(str(child.pid))\ntime.sleep(60)\n"
    )
    assert refused(command(tmp_path, script, tries=1, timeout_seconds=1.5)) == "did not end within 1.5 s"
    pid = int((tmp_path / "pid").read_text())
    for _ in range(200):
        if not os.path.exists(f"/proc/{pid}") or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            break
        time.sleep(0.02)
    else:
        pytest.fail("what the command started still runs")


def test_a_command_that_reads_nothing_is_fine(tmp_path: Path) -> None:
    deliver(command(tmp_path, ""))


def test_a_pause_ends_when_nobody_waits_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 60.0)
    with listening(lambda number: 500) as listener:
        made = Delivery(Notify(url=listener.url))
        (way,) = made.ways.values()

        def tell() -> None:
            with pytest.raises(NotToldError):
                made.deliver(way, EVENT)

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        listener.until(1)
        made.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert len(listener.told) <= 2


def test_a_server_that_answers_a_byte_at_a_time_is_left_after_the_timeout() -> None:
    dripping, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        connection, _ = dripping.accept()
        with connection, suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(b"H")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{dripping.getsockname()[1]}/"
        said = refused(Notify(url=url, tries=1, timeout_seconds=0.5))
    finally:
        over.set()
        dripping.close()
    assert said == "no answer within 0.5 s"
