"""How values are written for people and for JSON: sizes, times, near names, values of an audited file, no secrets."""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

_DEPTH = 20
_TEXT = 10_000


def plain(value: Any, depth: int = 0) -> Any:
    """Return a copy for output: NaN and infinities as text, other objects as their text, deep nesting cut off.

    Tokens and keys are cut to their first four characters: all values of an audited file that are shown pass here.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 1024 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if float("-inf") < value < float("inf") else str(value)
    if isinstance(value, str):
        return veiled(value if len(value) <= _TEXT else f"{value[:_TEXT]}... ({len(value)} characters)")
    if isinstance(value, dict | list | tuple):
        if depth >= _DEPTH:
            return "..."
        if isinstance(value, dict):
            return {key_text(key): plain(_veiled_value(key, item), depth + 1) for key, item in value.items()}
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return veiled(str(value)[:_TEXT])


def key_text(key: Any) -> str:
    """Return the key of a dictionary as text."""
    return veiled(key[:_TEXT]) if isinstance(key, str) else str(plain(key))


def brief(value: Any, width: int = 60) -> str:
    """Return a value in few characters, for one line on a terminal: numbers with six digits, lists without brackets."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and not any(isinstance(item, list | dict) for item in value):
        value = " ".join(brief(item, width) for item in value[: width + 1])
    return shortened(str(plain(value)), width)


def shortened(text: str, width: int = 40) -> str:
    """Return a text that is no longer than the width; dots stand for what is left out."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def escaped(text: str) -> str:
    """Return a text for one line: what is not printable, such as a line end, as its escape sequence."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def first_line(error: BaseException, otherwise: str = "no message") -> str:
    """Return the first line of an error's message that says something, ``otherwise`` if none does."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), otherwise)


def human_bytes(count: int) -> str:
    """Return a size in decimal units, as ``ls --si`` does: 999 B, 1.2 MB."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:  # what would be rounded to 1000.0 is 1.0 of the next unit
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"


def utc_time(seconds: float | None = None, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Return a Unix time, by default now, in UTC: ``2026-11-21T12:30:00Z`` (ISO 8601), or as ``form`` asks."""
    return time.strftime(form, time.gmtime(seconds))


def is_utc_time(text: str) -> bool:
    """Whether a text has the form of what :func:`utc_time` returns."""
    return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", text) is not None


def unix_time(text: str) -> float | None:
    """Return the Unix time of what :func:`utc_time` wrote, None for any other text."""
    from datetime import datetime  # SQLite needs it anyway; time.strptime takes longer to import

    if not is_utc_time(text):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def minute(time: str) -> str:
    """Return what :func:`utc_time` wrote to the minute, for people: ``2026-11-21 12:30``."""
    return time[:16].replace("T", " ")


def local_date() -> str:
    """Return today's date where the user is: ``2026-11-21``."""
    return time.strftime("%Y-%m-%d")


_ALSO_CALLED = {
    "rank": ("r",),
    "lora_r": ("r",),
    "lora_rank": ("r",),
    "alpha": ("lora_alpha",),
    "dropout": ("lora_dropout",),
    "modules": ("target_modules",),
    "lr": ("learning_rate",),
    "batch_size": ("per_device_train_batch_size",),
    "micro_batch_size": ("per_device_train_batch_size",),
    "train_batch_size": ("per_device_train_batch_size",),
    "grad_accum": ("gradient_accumulation_steps",),
    "gradient_accumulation": ("gradient_accumulation_steps",),
    "scheduler": ("lr_scheduler_type",),
    "lr_scheduler": ("lr_scheduler_type",),
    "warmup": ("warmup_steps",),
    "optimizer": ("optim",),
    "num_epochs": ("epochs",),
    "num_train_epochs": ("epochs",),
    "max_seq_length": ("max_length",),
    "max_seq_len": ("max_length",),
    "sequence_len": ("max_length",),
    "model": ("name_or_path",),
    "path": ("name_or_path", "inbox"),
    "base_model": ("name_or_path",),
    "model_name": ("name_or_path",),
    "model_name_or_path": ("name_or_path",),
    "output_dir": ("run",),
}
"""What other programs call a key."""


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names for a message, the last ones of many: ``checkpoint-100, checkpoint-200``; "none" without any."""
    if len(names) <= most:
        return ", ".join(names) or "none"
    return f"{len(names) - most} older ones, {', '.join(names[-most:])}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``; did you mean 'x'?``, each name after ``prefix``, or an empty string if no known name is close."""
    from difflib import get_close_matches

    there = list(known)
    close = [item for item in _ALSO_CALLED.get(name.lower().replace("-", "_"), ()) if item in there]
    close = close or get_close_matches(name, there, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(prefix + item) for item in close)}?" if close else ""


# -- secrets ---------------------------------------------------------------------------------------------------------

_STARTS = (
    b"hf_", b"api_org_", b"sk-", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"AKIA",
    b"ASIA", b"AIza", b"xox", b"PRIVATE KEY-----", b"_KEY", b"_TOKEN", b"_SECRET",
)  # fmt: skip
"""One of these is in every text with a credential: a quick look before the slow one."""

_CREDENTIALS = rb"""(?<![A-Za-z0-9_\-+.])(?P<secret>
        hf_[A-Za-z0-9]{20,64}
      | api_org_[A-Za-z0-9]{20,64}
      | sk-(?:proj-|ant-|or-|svcacct-)?[A-Za-z0-9_\-]{20,200}
      | gh[opusr]_[A-Za-z0-9]{30,100}
      | github_pat_[A-Za-z0-9_]{22,120}
      | glpat-[A-Za-z0-9_\-]{20,64}
      | (?:AKIA|ASIA)[0-9A-Z]{16}
      | AIza[0-9A-Za-z_\-]{35}
      | xox[baprs]-[0-9A-Za-z\-]{10,100}
      | (?:[A-Z]{2,20}_){1,8}(?:KEY|TOKEN|SECRET)["']?\s{0,3}[:=]\s{0,3}["']?(?P<value>[A-Za-z0-9_\-/+]{32,200})
    )(?![A-Za-z0-9_\-])
    | (?P<key>-----BEGIN\ (?:[A-Z]{2,10}\ )?PRIVATE\ KEY-----)"""

_PLACEHOLDER = r"<.*>|\$.*|\*+|[xX.]+|hf_[xX.*]+|true|false|none|null"

_PASSWORD = r"(?<=://)([^\s/@:]{0,200}):[^\s/@]{1,200}@"
"""What is between the name and the host of a URL."""

_SECRET_KEY = r"(?i:(.*_)?(hub_token|access_token|auth_token|api_?key|secret(_key)?|password|passwd))"
"""Keys whose value is never shown, whatever it looks like; ``eos_token`` and its kind are words of a tokenizer."""


@cache
def _pattern() -> re.Pattern[bytes]:
    """Compile at first use: it takes longer than most runs take to be looked through."""
    return re.compile(_CREDENTIALS, re.VERBOSE)


def credentials(text: bytes) -> Iterator[str]:
    """Return what in a text looks like a token or a key, each once. Never print more of it than ``hint`` gives."""
    if not any(start in text for start in _STARTS):
        return
    seen = set()
    for match in _pattern().finditer(text):
        found = (match["value"] or match["secret"] or match["key"]).decode("ascii", "replace")
        if found not in seen and (match["key"] or _is_random(found)):
            seen.add(found)
            yield found


def is_placeholder(text: str) -> bool:
    """Return whether a text is a placeholder for a token: ``<HUB_TOKEN>``, ``$HF_TOKEN``."""
    return len(text) < 8 or re.fullmatch(_PLACEHOLDER, text, re.IGNORECASE) is not None


def hint(secret: str) -> str:
    """Return what may be shown of a secret: its first four characters."""
    return f"{secret[:4]}..."


def _is_random(text: str) -> bool:
    """Say whether a text has the mixture of a random one: a word such as ``sk-learn-compatible-estimator`` has not."""
    body = re.sub(r"^(hf_|api_org_|sk-(proj-|ant-|or-|svcacct-)?|gh[a-z]*_(pat_)?|glpat-|xox.-)", "", text)
    kinds = sum(bool(re.search(part, body)) for part in ("[a-z]", "[A-Z]", "[0-9]"))
    return kinds >= 2 and len(set(body)) >= 8


def veiled(text: str) -> str:
    """Return a text for output: what looks like a token or a key is cut to four characters, no URL has a password."""
    for secret in credentials(text.encode("utf-8", "surrogatepass")):
        text = text.replace(secret, hint(secret))
    return re.sub(_PASSWORD, r"\1:...@", text) if "://" in text else text


def _veiled_value(key: Any, value: Any) -> Any:
    """The value under a key: a text under a name for secrets is one, unless it is a placeholder."""
    if isinstance(value, str) and isinstance(key, str) and not is_placeholder(value) and re.fullmatch(_SECRET_KEY, key):
        return hint(value)
    return value
