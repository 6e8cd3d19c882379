"""What an error of the client means: it may pass, or only a person can help. No token is in what is said.

The client's errors, as they were seen of huggingface_hub 2.4 and hf_xet 1.8 against a server that fails on purpose:
the transport is httpx2; an expired upload address is a RuntimeError whose cause has the answer; xet reports a refused
token as the builtin ConnectionError, without an answer, so its text has to be looked at.
"""

import re
from typing import Any, NamedTuple

from audit.plugin import AuditError, first_line, secret_hint, veiled

MAY_PASS, NEEDS_A_PERSON, NEVER = "waiting", "stuck", "refused"
_KNOWN = {
    401: "the Hub does not accept the token: run `hf auth login`, or set HF_TOKEN",
    403: "the Hub forbids it: the token may lack the right to write, or the storage of the account is full",
    404: "there is no such repository or branch, or the token may not see it",
    413: "the Hub takes no file of that size",
    409: "another operation on the repository is under way",
    412: "somebody else commits to the repository at the same time",
    429: "too many requests",
}
_PASSING = (408, 409, 412, 425, 429)
_LONGEST = 300


class NeverError(AuditError):
    """The push can never succeed as it was queued."""


class StuckError(AuditError):
    """Only a person can help."""


class Failure(NamedTuple):
    """``state`` of the push, why, and after how many seconds the server asks to be asked again."""

    state: str
    reason: str
    retry_after: float | None = None


def failure_of(error: BaseException, token: str | None = None) -> Failure:
    """Say what became of a try that ended with an error."""
    answer = getattr(error, "response", None)
    cause = error.__cause__
    if answer is None and cause is not None and getattr(cause, "response", None) is not None:
        answer, late = cause.response, True  # type: ignore[attr-defined]
    else:
        late = False
    if answer is not None:
        return _of_answer(error, answer, late, token)
    text = _clean(first_line(error, type(error).__name__), token)
    if isinstance(error, NeverError):
        return Failure(NEVER, text)
    if isinstance(error, AuditError):
        return Failure(NEEDS_A_PERSON, text)
    if isinstance(error, ConnectionError) and re.search(r"\b40[13]\b", str(error)):
        code = 401 if "401" in str(error) else 403
        return Failure(NEEDS_A_PERSON, f"{_KNOWN[code]} ({code}, from the store)")
    name = type(error).__name__
    if name == "OfflineModeIsEnabled":
        return Failure(NEEDS_A_PERSON, "HF_HUB_OFFLINE is set, so nothing is sent; unset it")
    if name in ("LocalTokenNotFoundError", "HFValidationError") or isinstance(error, ValueError | TypeError):
        return Failure(NEEDS_A_PERSON, f"{name}: {text}")
    if isinstance(error, OSError) and error.errno is not None and error.strerror and not _is_network(error):
        return Failure(NEEDS_A_PERSON, f"{error.filename or 'this machine'}: {error.strerror}")
    return Failure(MAY_PASS, f"{name}: {text}")


def _of_answer(error: BaseException, answer: Any, late: bool, token: str | None) -> Failure:
    code = int(answer.status_code)
    said = _said(answer, token)
    known = _KNOWN.get(code, "the Hub has a problem of its own" if code >= 500 else "the Hub refuses it")
    reason = f"{known} ({code}{': ' + said if said else ''})"
    if late and code == 403:  # the address of an upload expires; the next try gets another
        return Failure(MAY_PASS, f"an address that the Hub gave for the upload is not valid any more ({code})")
    passing = code >= 500 or code in _PASSING
    return Failure(MAY_PASS if passing else NEEDS_A_PERSON, reason, _wait(answer) if passing else None)


def _said(answer: Any, token: str | None) -> str:
    try:
        document = answer.json()
        text = document.get("error") if isinstance(document, dict) else None
    except Exception:  # any answer at all, or one that was not read
        text = None
    return _clean(text, token) if isinstance(text, str) else ""


def _clean(text: str, token: str | None) -> str:
    """One line of bounded length, without a token."""
    if token:
        text = text.replace(token, secret_hint(token))
    return veiled(" ".join(text.split())[:_LONGEST])


def _wait(answer: Any) -> float | None:
    """Seconds of ``Retry-After``, or the ``t`` of ``RateLimit: "api";r=0;t=55``."""
    asked = str(answer.headers.get("Retry-After") or "")
    found = re.search(r";\s*t=(\d{1,6})", str(answer.headers.get("RateLimit") or ""))
    seconds = asked if re.fullmatch(r"\d{1,6}", asked) else found[1] if found else ""
    return float(seconds) if seconds else None


def _is_network(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.partition(".")[0] != "builtins"
