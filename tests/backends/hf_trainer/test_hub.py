"""Without the hub, the libraries are told to use their cache alone, before they retry for minutes."""

import socket
from pathlib import Path

import pytest

from audit_hf_trainer.hub import OFFLINE, PROXIES, _why_unreachable, use_cache_if_unreachable

NAMED = {"name_or_path": "acme/model"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (OFFLINE, "HF_ENDPOINT", *PROXIES):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)
    _why_unreachable.cache_clear()


def offline(monkeypatch: pytest.MonkeyPatch, model: dict[str, str]) -> bool:
    import os

    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    use_cache_if_unreachable(model)
    return os.environ.get(OFFLINE) == "1"


def test_a_hub_that_cannot_be_reached_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offline(monkeypatch, NAMED)
    use_cache_if_unreachable(NAMED)

    said = capsys.readouterr().err
    assert said.startswith("note: huggingface.co cannot be reached (Name or service not known); using the cache")
    assert said.count("\n") == 1


def test_what_is_on_the_disk_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not offline(monkeypatch, {"name_or_path": str(tmp_path)})
    assert not offline(monkeypatch, {})


def test_behind_a_proxy_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")

    assert not offline(monkeypatch, NAMED)


def test_a_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        use_cache_if_unreachable(NAMED)

    assert OFFLINE not in os.environ
    assert capsys.readouterr().err == ""


def test_a_strange_address_is_left_to_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://[::1")

    assert not offline(monkeypatch, NAMED)
