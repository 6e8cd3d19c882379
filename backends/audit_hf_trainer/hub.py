"""Whether the hub can be reached, asked once before the libraries ask: they would retry for minutes at every file."""

import os
import socket
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

OFFLINE = "HF_HUB_OFFLINE"
"""Environment variable with which huggingface_hub uses its cache alone (docs of huggingface_hub, constants.py)."""
PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
SECONDS = 5.0
"""Time for a connection, tried twice."""


def use_cache_if_unreachable(model: Mapping[str, Any]) -> None:
    """Have the libraries use their cache alone if the table [model] names what is on a hub that cannot be reached.

    What the user has set is left as it is. Behind a proxy nothing is asked: only the proxy knows.
    """
    names = [model[key] for key in ("name_or_path", "tokenizer") if key in model]
    if all(os.path.exists(name) for name in names) or OFFLINE in os.environ:
        return
    if any(os.environ.get(name) for name in PROXIES):
        return
    why = _why_unreachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if why is None:
        return
    sys.stderr.write(f"note: {why}; using the cache of Hugging Face alone ({OFFLINE}=1)\n")
    os.environ[OFFLINE] = "1"
    loaded = sys.modules.get("huggingface_hub.constants")
    if loaded is not None:
        loaded.__dict__[OFFLINE] = True


@cache
def _why_unreachable(endpoint: str) -> str | None:
    """Return why nothing listens there, None if something does or the address is of an unusual form."""
    try:
        place = urlsplit(endpoint)
        port = place.port or (80 if place.scheme == "http" else 443)
    except ValueError:
        return None
    if place.hostname is None:
        return None
    for left in (1, 0):
        try:
            socket.create_connection((place.hostname, port), timeout=SECONDS).close()
        except OSError as error:
            if not left:
                return f"{place.hostname} cannot be reached ({error.strerror or error})"
        else:
            return None
    return None
