"""What credentials look like."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

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

# Words and numbers by the hundred thousand, in which any pattern comes up by chance.
_VOCABULARIES = (
    "tokenizer", "vocab", "merges", "added_tokens", "special_tokens_map", "normalizer", "spiece", "sentencepiece", "bpe"
)  # fmt: skip


@cache
def _pattern() -> re.Pattern[bytes]:
    """Compile at first use: it takes longer than most runs take to be looked through."""
    return re.compile(_CREDENTIALS, re.VERBOSE)


def is_vocabulary(path: str) -> bool:
    """Say whether a file of this name holds words rather than settings."""
    name = path.rpartition("/")[2]
    return name != "tokenizer_config.json" and name.lower().startswith(_VOCABULARIES)


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


def texts(value: Any, depth: int = 6) -> Iterator[str]:
    """Return all texts inside plain values (dictionaries and lists)."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from texts(item, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from texts(item, depth - 1)


def is_placeholder(text: str) -> bool:
    """Say whether a text stands for a token without being one: ``<HUB_TOKEN>``, ``$HF_TOKEN``."""
    return len(text) < 8 or re.fullmatch(_PLACEHOLDER, text, re.IGNORECASE) is not None


def hint(secret: str) -> str:
    """Return what may be shown of a secret: its first four characters."""
    return f"{secret[:4]}..."


def _is_random(text: str) -> bool:
    """Say whether a text has the mixture of a random one: a word such as ``sk-learn-compatible-estimator`` has not."""
    body = re.sub(r"^(hf_|api_org_|sk-(proj-|ant-|or-|svcacct-)?|gh[a-z]*_(pat_)?|glpat-|xox.-)", "", text)
    kinds = sum(bool(re.search(part, body)) for part in ("[a-z]", "[A-Z]", "[0-9]"))
    return kinds >= 2 and len(set(body)) >= 8
