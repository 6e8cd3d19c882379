"""An untrusted run: whatever is in it, nothing outside of it is written, moved or deleted."""

import os
from pathlib import Path
from typing import Any

import pytest

from audit.errors import AuditError
from audit.retention.lock import RunLock
from audit.training.run_state import TrainRefused
from tests.audit.batch_rows import append
from tests.audit.training.conftest import Shop, legs


@pytest.mark.parametrize(
    "name", ["../../escaped.jsonl", "/../escaped.jsonl", "..", ".", "", "\0", "\ud800", "a" * 300, 7, None]
)
def test_a_name_in_the_ledger_leads_nowhere(name: Any, begun: Shop) -> None:
    append(str(begun.run), ("batch", {**legs(begun)[0], "file": name}))
    for path in begun.inbox.glob(".held-*"):
        path.unlink()
    # The inbox' file was replaced while a killed leg read it: only the second name leads to it now.
    digest = legs(begun)[0]["batch"]
    extension = os.path.splitext(name)[1] if isinstance(name, str) and name.endswith(".jsonl") else ""
    os.rename(begun.inbox / "a.jsonl", begun.inbox / f".held-{digest[:32]}{extension}")
    before = {path for path in begun.home.rglob("*") if path.is_file()}

    try:
        begun.train()
    except AuditError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  it may refuse, it may not crash

    new = {path for path in begun.home.rglob("*") if path.is_file()} - before
    places = {path.relative_to(begun.home).parts[0] for path in new}
    assert places <= {"run", "done", "inbox", "rejected"}
    assert not list(begun.home.parent.glob("escaped*"))


@pytest.mark.parametrize("digest", ["../../x", "/etc/passwd", "\0", "\ud800", "x" * 5000, ""])
def test_a_digest_in_the_ledger_leads_nowhere(digest: str, begun: Shop) -> None:
    append(str(begun.run), ("batch", {**legs(begun)[0], "batch": digest}))
    with pytest.raises(TrainRefused, match=r"a\.jsonl was changed since"):
        begun.train()
    assert begun.names("inbox") == ["a.jsonl"]


@pytest.mark.parametrize(
    "numbers",
    [
        {"examples": 10**15},
        {"examples": 2**60},
        {"epochs": 10**400},
        {"epochs": 0},
        {"epochs": 10**12, "examples": 10**12},
        {"first_example": 2**52},
        {"examples_per_step": 2**52},
        {"last_step": 2**52},
        {"first_step": 2**52},
        {"first_step": 2**60},
        {"horizon": 10**400, "decay_steps": -1},
        {"processes": "many", "order": {"a": []}, "seed": None},
    ],
    ids=str,
)
def test_no_number_in_the_ledger_is_too_much(numbers: dict[str, Any], begun: Shop) -> None:
    append(str(begun.run), ("batch", {**legs(begun)[0], **numbers}))
    try:
        begun.train()
    except AuditError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  it may refuse, it may not crash
    assert len(begun.trained()) <= 8


@pytest.mark.parametrize("place", [".audit", ".audit/trash", ".audit/quarantine", ".audit/pinned", ".audit/ledger.db"])
def test_a_link_in_the_audits_own_places_leads_nobody_out(place: str, shop: Shop) -> None:
    outside = shop.home / "outside"
    (outside / "checkpoint-9").mkdir(parents=True)
    (outside / "checkpoint-9" / "precious").write_text("x")
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    if (shop.run / place).exists():
        os.rename(shop.run / place, shop.home / "was")
    (shop.run / place).symlink_to(outside)
    (shop.run / "checkpoint-4" / "optimizer.pt").unlink()
    shop.drop("b.jsonl", list(range(10, 18)))
    before = sorted(outside.rglob("*"))

    try:
        shop.train()
    except AuditError as error:
        assert "link" in str(error) or "is not a file" in str(error) or "is not a directory" in str(error)  # noqa: PT017

    assert sorted(outside.rglob("*")) == before


def test_a_lock_that_is_another_file_too_is_not_written_into(tmp_path: Path) -> None:
    theirs, lock = tmp_path / "theirs", tmp_path / "run" / ".audit" / "lock"
    theirs.write_text("precious\n")
    lock.parent.mkdir(parents=True)
    lock.hardlink_to(theirs)
    with RunLock(str(tmp_path / "run"), "trained"), pytest.raises(AuditError, match="being worked on by another"):
        RunLock(str(tmp_path / "run"), "pruned").__enter__()
    assert theirs.read_text() == "precious\n"
