"""Where a run is: on this machine, or behind a URL that is a plain address without a secret in it."""

import os
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.facts.place import MissingError, place_behind, place_here
from audit.storage import LocalStorage
from audit.testing.runs import make_run


class Opener:
    """Stands in for a bucket: what is below a URL is in a directory."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, url: str) -> LocalStorage:
        storage = Elsewhere(str(self.home / url.partition("://")[2]))
        storage.url = url
        return storage


class Elsewhere(LocalStorage):
    url = ""

    @property
    def identity(self) -> str:
        return self.url

    def list(self, path: str):  # type: ignore[no-untyped-def]
        return super().list(path) if os.path.isdir(os.path.join(self.root, path)) else []


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    make_run(tmp_path / "bucket" / "run", (5, 10))
    return Opener(tmp_path)


@pytest.mark.parametrize("url", ["s3://bucket/run", "s3://bucket/run/", "S3://bucket/run//"])
def test_a_url_is_a_run_by_one_name(opened: Opener, url: str) -> None:
    place = place_behind(url, opened, "/ledgers")

    assert (place.root, place.only) == ("s3://bucket/run", ())
    assert place.home.startswith("/ledgers/run-")


def test_a_checkpoint_is_judged_in_its_run(opened: Opener) -> None:
    place = place_behind("s3://bucket/run/checkpoint-5", opened)

    assert (place.root, place.only) == ("s3://bucket/run", ("checkpoint-5",))
    with pytest.raises(AuditError, match=r"no such checkpoint; there: checkpoint-5, checkpoint-10$"):
        place_behind("s3://bucket/run/checkpoint-6", opened)


def test_what_is_called_like_a_step_is_a_checkpoint_only_with_states_of_its_own(opened: Opener) -> None:
    make_run(opened.home / "bucket" / "step_1", (5,))
    (opened.home / "bucket" / "epoch_1").mkdir()
    (opened.home / "bucket" / "epoch_1" / "model.safetensors").write_bytes(b"x")

    assert place_behind("s3://bucket/step_1", opened).only == ()
    assert place_behind("s3://bucket/epoch_1", opened).only == ("epoch_1",)


def test_nothing_below_a_url_is_no_run(opened: Opener) -> None:
    with pytest.raises(MissingError, match="no such run"):
        place_behind("s3://bucket/nothing", opened)


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/run?X-Amz-Signature=s3cret", "sftp://me:s3cret@host/run", "az://c/run?sv=1&sig=s3cret"],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(opened: Opener, url: str) -> None:
    with pytest.raises(AuditError, match="query or a password") as refused:
        place_behind(url, opened)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["s3://", "s3://bucket//run", "s3://bucket/../run", "s3://bucket/./x", "s3://b/\x1b[2J"]
)
def test_an_odd_address_is_refused(opened: Opener, url: str) -> None:
    with pytest.raises(AuditError, match="is not the address of a run"):
        place_behind(url, opened)


def test_two_runs_have_two_ledgers_and_one_run_one(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(opened.home / "state"))
    make_run(opened.home / "other" / "run", (5,))
    one, same, other = (
        place_behind(url, opened).home for url in ("s3://bucket/run", "s3://bucket/run/checkpoint-5", "s3://other/run")
    )

    assert one == same != other
    assert Path(one).parent == opened.home / "state" / "checkpoint-audit" / "runs"


def test_a_state_directory_that_cannot_be_made_is_said_and_changes_nothing_else(opened: Opener) -> None:
    (opened.home / "file").write_text("")

    class Remote(Elsewhere):
        root = None  # type: ignore[assignment]

    place = place_behind("s3://bucket/run", opened, str(opened.home / "file"))
    place.storage.__class__ = Remote
    place.storage.root = None  # type: ignore[misc]
    records, ledger = place.records(write=True)

    assert ledger is None
    assert "cannot be made" in (records.unwritable or "")


def test_a_run_of_this_machine_has_its_ledger_beside_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (5,))

    assert place_here(run).home == run
    with pytest.raises(AuditError, match="--ledger is for runs behind a URL"):
        place_here(run, "/ledgers")
    with pytest.raises(AuditError, match="is not on this machine"):
        place_here("s3://bucket/run?sig=x")
