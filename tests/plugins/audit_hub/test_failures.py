"""What may pass is tried again, what needs a person is said to one, and no token is in it."""

from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import AuditError
from audit_hub.failures import Failure, NeverError, failure_of
from tests.plugins.audit_hub.server import TOKEN


class AnswerError(OSError):
    """An error of the client with the answer of the server."""

    def __init__(self, code: int, said: str | None = None, **headers: str) -> None:
        super().__init__(f"Client error {code}\nwith a second line")
        document = {"error": said} if said else None
        self.response = SimpleNamespace(status_code=code, headers=headers, json=lambda: document)


class OfflineModeIsEnabled(ConnectionError):
    """Of the same name as the client's."""


@pytest.mark.parametrize("code", [408, 409, 412, 425, 429, 500, 502, 503, 504])
def test_what_may_pass(code: int) -> None:
    assert failure_of(AnswerError(code)).state == "waiting"


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
def test_what_needs_a_person(code: int) -> None:
    found = failure_of(AnswerError(code, "Storage limit\nreached"))
    assert (found.state, found.retry_after) == ("stuck", None)
    assert f"({code}: Storage limit reached)" in found.reason


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "55"}, 55.0),
        ({"RateLimit": '"api";r=0;t=42'}, 42.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "9" * 40}, None),
        ({}, None),
    ],
)
def test_the_server_says_when_to_come_again(headers: dict[str, str], seconds: float | None) -> None:
    assert failure_of(AnswerError(429, None, **headers)).retry_after == seconds


def test_an_address_that_expired_is_another_403() -> None:
    error = RuntimeError("Error while uploading")
    error.__cause__ = AnswerError(403)
    assert failure_of(error).state == "waiting"


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (ConnectionError("Network error: HTTP status client error (401 Unauthorized)"), "stuck", "the token"),
        (ConnectionError("Network error: 403 Forbidden"), "stuck", "forbids"),
        (ConnectionError("Network error: connection refused to 10.4.0.1:4010"), "waiting", "connection refused"),
        (TimeoutError("timed out"), "waiting", "timed out"),
        (OfflineModeIsEnabled("offline"), "stuck", "HF_HUB_OFFLINE"),
        (ValueError("Invalid metadata in README.md."), "stuck", "Invalid metadata"),
        (OSError(28, "No space left on device", "/x"), "stuck", "/x: No space left on device"),
        (NeverError("changed"), "refused", "changed"),
        (AuditError("another"), "stuck", "another"),
        (KeyError("sha"), "waiting", "KeyError: 'sha'"),
        (RuntimeError(""), "waiting", "RuntimeError"),
    ],
)
def test_errors_without_an_answer(error: Exception, state: str, said: str) -> None:
    found = failure_of(error)
    assert (found.state, said in found.reason) == (state, True), found


@pytest.mark.parametrize("token", [TOKEN, "a-token-of-no-known-form"])
def test_no_token_is_in_what_is_said(token: str) -> None:
    errors: list[Any] = [AnswerError(403, f"{token} may not"), RuntimeError(f"Bearer {token}"), NeverError(token)]
    for error in errors:
        assert token not in failure_of(error, token).reason
    assert failure_of(AnswerError(400, "x" * 10_000)) == Failure("stuck", f"the Hub refuses it (400: {'x' * 300})")


def test_a_password_of_the_endpoint_is_in_no_address_of_a_push() -> None:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from audit_hub.client import Hub, Place

    client: Any = object.__new__(Hub)
    client._api = SimpleNamespace(endpoint="https://me:secret@hub.example:8080")
    address = client.url(Place("me/run", "checkpoint-3", "c0"))
    assert "secret" not in address
    assert address.endswith("@hub.example:8080/me/run/tree/c0/checkpoint-3")
