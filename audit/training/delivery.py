"""Two ways to tell somebody of an event: a command that reads it, and an address that it is sent to.

Both are tried several times, with a growing pause that an event in another thread ends.
"""

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from audit.errors import AuditError
from audit.training.notify_config import Notify

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two tries; each pause is twice the one before."""
PASSING = frozenset({408, 425, 429})
"""Answers below 500 after which another try may help: RFC 9110, RFC 8470, RFC 6585."""

Way = Callable[[bytes], None]
"""Tells of one event, or raises NotToldError."""


class NotToldError(Exception):
    """A try failed; ``passing``: another one may help. Its text never contains the address."""

    def __init__(self, reason: str, passing: bool = True) -> None:
        self.passing = passing
        super().__init__(reason)


def check_installed() -> None:
    """Raise AuditError with the extra to install if a library is missing."""
    try:
        import httpx2  # noqa: F401
        import tenacity  # noqa: F401
    except ImportError as error:
        raise AuditError(
            f"[notify] needs {error.name}, which is not installed: pip install 'checkpoint-audit[notify]'"
        ) from error


class Delivery:
    """The ways of one configuration, by the name under which a failure is reported."""

    def __init__(self, settings: Notify) -> None:
        self._settings = settings
        self._over = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self.ways: dict[str, Way] = {}
        if settings.command:
            self.ways[os.path.basename(settings.command[0])] = self._run
        if settings.url is not None:
            self.ways[host_of(settings.url)] = self._post

    def deliver(self, way: Way, document: Mapping[str, Any]) -> None:
        """Tell of one event. Raises NotToldError after the last try, or when :meth:`stop` was called."""
        import tenacity

        body = json.dumps(document).encode()
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs whole addresses at level INFO
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, NotToldError) and error.passing),
            stop=tenacity.stop_after_attempt(self._settings.tries) | tenacity.stop_when_event_set(self._over),
            wait=tenacity.wait_exponential(FIRST_PAUSE, LONGEST_PAUSE),
            sleep=tenacity.sleep_using_event(self._over),
            reraise=True,
        )(way, body)

    def stop(self) -> None:
        """End a pause, and the command if it runs: nobody waits for it any more."""
        self._over.set()
        child = self._child
        if child is not None:
            _kill(child)

    def _run(self, body: bytes) -> None:
        settings = self._settings
        try:
            child = subprocess.Popen(
                settings.command,
                cwd=settings.home,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not meant for it, and what it started ends with it
            )
        except OSError as error:
            raise NotToldError(f"cannot be started: {error.strerror or error}", passing=False) from None
        self._child = child
        try:
            child.communicate(body, timeout=settings.timeout_seconds)
        except subprocess.TimeoutExpired:
            raise NotToldError(f"did not end within {settings.timeout_seconds:g} s") from None
        except OSError as error:
            raise NotToldError(f"does not read its standard input: {error.strerror or error}") from None
        finally:
            self._child = None
            _kill(child)
        if child.returncode:
            raise NotToldError(f"ended with code {child.returncode}")

    def _post(self, body: bytes) -> None:
        """Send it in a thread of its own: the library limits each read, and a server may answer a byte at a time."""
        import httpx2

        settings = self._settings
        assert settings.url is not None
        answers: list[int | NotToldError] = []
        try:
            client = httpx2.Client(timeout=settings.timeout_seconds)
        except Exception as error:  # proxies and certificates come from the environment
            raise NotToldError(f"cannot be reached ({type(error).__name__})") from None
        asked = (client, settings.url, body, settings.timeout_seconds)
        thread = threading.Thread(target=lambda: answers.append(_answer(*asked)), daemon=True)
        thread.start()
        thread.join(settings.timeout_seconds)
        if not answers:
            # Its connection is closed under it: it ends with the next read.
            with suppress(Exception):
                client.close()
            raise NotToldError(f"no answer within {settings.timeout_seconds:g} s")
        answer = answers[0]
        if isinstance(answer, NotToldError):
            raise answer
        if not 200 <= answer < 300:
            raise NotToldError(f"answered {answer}", passing=answer >= 500 or answer in PASSING)


def _answer(client: Any, url: str, body: bytes, seconds: float) -> "int | NotToldError":
    """Return the status of the answer, or why there is none."""
    import httpx2

    headers = {"Content-Type": "application/json", "User-Agent": "checkpoint-audit"}
    try:
        # The answer is not read: it may have no end.
        with client, client.stream("POST", url, content=body, headers=headers) as answer:
            return int(answer.status_code)
    except httpx2.TimeoutException:
        return NotToldError(f"no answer within {seconds:g} s")
    except Exception as error:  # the texts of these may hold the address
        return NotToldError(f"cannot be reached ({type(error).__name__})")


def host_of(url: str) -> str:
    """Return what of an address is no secret: where it leads, without path, user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _kill(child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(1.0)
