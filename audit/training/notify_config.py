"""The tables ``[notify]`` and ``[retry]`` of the configuration, which was checked against the schema."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from audit.errors import ConfigError

TOLD = ("refused", "error", "failed", "rejected", "disk-short", "day")
"""Events that are told if the configuration names none: what needs a person, and once a day what was trained."""


class Notify(NamedTuple):
    """Who is told of which ``events``, by their names in JSON.

    ``command`` runs in the directory ``home`` of the configuration. ``url`` may hold a secret and is never shown.
    """

    command: tuple[str, ...] = ()
    url: str | None = None
    events: tuple[str, ...] = TOLD
    timeout_seconds: float = 10.0
    tries: int = 4
    home: str = "."

    @property
    def told(self) -> bool:
        """Whether anybody is told."""
        return bool(self.command or self.url)


class Retry(NamedTuple):
    """How many ``times`` a leg is tried again, and the seconds before the first time."""

    times: int = 0
    wait_seconds: float = 60.0


def notify_of(table: Mapping[str, Any] | None, home: str) -> Notify:
    """Return the table of a configuration in the directory ``home``, None: there is none. Raises ConfigError."""
    if table is None:
        return Notify(home=home)
    url = table.get("url")
    if url is not None and not _is_address(url):
        raise ConfigError("notify.url: is not an address that begins with https:// or http:// (it is not shown here)")
    if url is None and "command" not in table:
        raise ConfigError("notify: needs a command or a url")
    return Notify(
        command=tuple(table.get("command", ())),
        url=url,
        events=tuple(table.get("events", TOLD)),
        timeout_seconds=float(table.get("timeout-seconds", 10.0)),
        tries=table.get("tries", 4),
        home=home,
    )


def retry_of(table: Mapping[str, Any]) -> Retry:
    """Return the table of a configuration."""
    return Retry(table.get("times", 0), float(table.get("wait-seconds", 60.0)))


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
