"""What went wrong with a storage, in words of our own: messages of the clients hold URLs, which may be signed."""

import re

from audit.plugin import UnreachableError

_STATUS = re.compile(
    r"(?:status(?: code)?:?|error code:?|HTTP/1\.1|Client error|Server error|\()\s*'?([45][0-9]{2})\b", re.IGNORECASE
)
_CODE = re.compile(r"<Code>([A-Za-z]{3,40})</Code>")
_WORDS = (
    ("PermanentRedirect", "the bucket is in another region; set AWS_REGION"),
    ("301 Moved", "the bucket is in another region; set AWS_REGION"),
    ("incorrectly configured region", "the bucket is in another region; set AWS_REGION"),
    ("NoSuchBucket", "there is no such bucket"),
    ("ContainerNotFound", "there is no such container"),
    ("Account must be specified", "no account is named; set AZURE_STORAGE_ACCOUNT_NAME"),
    ("RequestTimeTooSkewed", "the clock of this machine is wrong"),
    ("dns error", "the name of the server is not known"),
    ("Name or service not known", "the name of the server is not known"),
    ("onnection refused", "nothing answers at the server's address"),
    ("onnectionRefused", "nothing answers at the server's address"),
    ("operation timed out", "no answer in time"),
    ("timed out", "no answer in time"),
    ("TimedOut", "no answer in time"),
    ("Timeout", "no answer in time"),
    ("169.254.169.254", "no credentials were found"),
    ("credential", "no credentials were found"),
    ("URL scheme is not allowed", "the server's address is http://, which has to be allowed (AWS_ALLOW_HTTP=true)"),
    ("certificate", "the certificate of the server is not accepted"),
    ("connection closed", "the connection was cut"),
    ("response body error", "the connection was cut"),
    ("ection reset", "the connection was cut"),
    ("error decoding response body", "the connection was cut"),
    ("error sending request", "the connection failed"),
)
"""What a client's message says, and what it means; the first that fits counts."""

DENIED = "permission denied: are the credentials those of this bucket? (docs/remote.md)"


def unreachable(place: str, error: BaseException) -> UnreachableError:
    """Return the error for the user: ``place`` is a URL without secrets."""
    return UnreachableError(f"{place}: cannot be read: {_meaning(error)}; nothing is said of the run")


def _meaning(error: BaseException) -> str:
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if isinstance(error, PermissionError) or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return DENIED
    for sign, meaning in _WORDS:
        if sign in text:
            return meaning
    number = int(status[1]) if status else None
    if number in (401, 403):
        return DENIED
    if number == 404:
        return "there is no such bucket"
    if number is not None:
        what = "the server fails or is overloaded" if number >= 500 or number == 429 else "the server refuses"
        return f"{what} (status {number}{', ' + code[1] if code else ''})"
    if code:
        return f"the server refuses ({code[1]})"
    return f"the client failed ({type(error).__name__})"
