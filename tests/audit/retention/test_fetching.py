"""A checkpoint that is fetched is there whole, with the bytes that were judged, or not at all."""

import os
import shutil
from pathlib import Path
from socket import gethostname
from urllib.parse import quote

import pytest

from audit.errors import AuditError
from audit.manager import Registry
from audit.options import Options
from audit.retention import fetching
from audit.retention.fetching import fetch
from audit.testing.runs import make_run
from tests.audit.elsewhere import registry


@pytest.fixture(scope="module")
def plugins() -> Registry:
    return registry()


@pytest.fixture
def url(tmp_path: Path) -> str:
    make_run(tmp_path / "run", (5, 10))
    (tmp_path / "run" / "checkpoint-10" / "inner").mkdir()
    (tmp_path / "run" / "checkpoint-10" / "inner" / "empty.txt").touch()
    return f"test:/{tmp_path}/run"


def options(tmp_path: Path) -> Options:
    return Options(ledger_dir=str(tmp_path / "ledgers"), jobs=1)


def content(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_every_byte_arrives_and_nothing_else_is_left(url: str, tmp_path: Path, plugins: Registry) -> None:
    path = fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins)

    assert path == str(tmp_path / "here" / "checkpoint-10")
    assert os.listdir(tmp_path / "here") == ["checkpoint-10"]
    assert content(Path(path)) == content(tmp_path / "run" / "checkpoint-10")
    assert len({os.stat(file).st_mtime_ns for file in Path(path).rglob("*") if file.is_file()}) == 1


def test_what_is_there_already_is_compared_and_kept(url: str, tmp_path: Path, plugins: Registry) -> None:
    path = fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins)
    before = os.stat(path).st_ino

    assert fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins) == path
    assert os.stat(path).st_ino == before


@pytest.mark.parametrize("change", ["other bytes", "one more", "one less", "a link"])
def test_another_checkpoint_in_its_place_stays_as_it_is(
    url: str, tmp_path: Path, plugins: Registry, change: str
) -> None:
    path = Path(fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins))
    if change == "other bytes":
        (path / "README.md").write_bytes(b"?" * (path / "README.md").stat().st_size)
    elif change == "one more":
        (path / "more").touch()
    elif change == "one less":
        (path / "README.md").unlink()
    else:
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    before = content(path)

    with pytest.raises(AuditError, match="is there and is not checkpoint-10 of"):
        fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins)
    assert content(path) == before


def test_bytes_that_are_not_those_that_were_judged_never_appear(
    url: str, tmp_path: Path, plugins: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = fetching._copy

    def wrong(file: object, path: str) -> None:
        copy(file, path)  # type: ignore[arg-type]
        if path.endswith("optimizer.pt"):
            data = Path(path).read_bytes()
            Path(path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(fetching, "_copy", wrong)

    with pytest.raises(AuditError, match=r"optimizer\.pt: arrived with other bytes"):
        fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins)
    assert os.listdir(tmp_path / "here") == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    url: str, tmp_path: Path, plugins: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object, path: str) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(fetching, "_copy", full)

    with pytest.raises(AuditError, match="cannot be fetched: No space left on device"):
        fetch(url, "checkpoint-10", str(tmp_path / "here"), options(tmp_path), plugins)
    assert os.listdir(tmp_path / "here") == []


def test_what_a_killed_call_left_is_cleared_and_that_of_a_running_one_is_not(
    url: str, tmp_path: Path, plugins: Registry
) -> None:
    here = tmp_path / "here"
    dead = next(number for number in range(400_000, 500_000) if not os.path.exists(f"/proc/{number}"))
    mine = quote(gethostname(), safe="")
    (here / f".fetch-checkpoint-10.{mine}.{dead}").mkdir(parents=True)
    others = [
        f"{mine}.{os.getppid()}",
        f"another-{mine}.{dead}",
        *(f"{mine}.{end}" for end in ("notes", "²", "9" * 30)),
    ]
    for end in others:
        (here / f".fetch-checkpoint-10.{end}").mkdir()

    fetch(url, "checkpoint-10", str(here), options(tmp_path), plugins)

    assert sorted(os.listdir(here)) == sorted(["checkpoint-10", *(f".fetch-checkpoint-10.{end}" for end in others)])


def test_what_another_process_fetched_meanwhile_is_compared_and_kept(
    url: str, tmp_path: Path, plugins: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    at_one_time = fetching._at_one_time

    def late(scratch: str) -> None:
        at_one_time(scratch)
        shutil.copytree(scratch, here / "checkpoint-10")

    monkeypatch.setattr(fetching, "_at_one_time", late)
    assert fetch(url, "checkpoint-10", str(here), options(tmp_path), plugins) == str(here / "checkpoint-10")
    assert os.listdir(here) == ["checkpoint-10"]


def test_a_checkpoint_that_is_gone_is_not_fetched(url: str, tmp_path: Path, plugins: Registry) -> None:
    with pytest.raises(AuditError, match="checkpoint-7 is gone"):
        fetch(url, "checkpoint-7", str(tmp_path / "here"), options(tmp_path), plugins)
    assert not (tmp_path / "here").exists()
