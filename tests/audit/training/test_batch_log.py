"""What the batch rows of the ledger hold, and what happens where they cannot be read or written."""

import os
import re
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.audit_dir import RESERVE
from audit.errors import AuditError
from audit.ledger.batch_events import Failed
from audit.ledger.store import Ledger, LedgerError, open_ledger
from audit.ledger.timeline_rows import timeline_of
from audit.training.batch_log import BatchLog
from tests.audit.seals import execute
from tests.audit.training.conftest import Shop

FAILED = Failed("digest", "a.jsonl", 3, "disk-full", "No space left on device")


def test_the_ledger_tells_the_batches(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3])
    shop.train()
    ledger = open_ledger(str(shop.run), write=False)
    assert ledger is not None
    (batch,) = timeline_of(ledger.rows()).batches
    ledger.close()
    assert (batch.file, batch.state, batch.first_step, batch.step, batch.examples) == ("a.jsonl", "retired", 0, 2, 3)
    assert len(batch.losses) == 2


def test_without_a_ledger_nothing_is_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    shop.train()
    (shop.run / ".audit" / "ledger.db").write_bytes(b"not a ledger, but long enough to be looked at")
    shop.drop("b.jsonl", [2])
    with pytest.raises(AuditError, match="only it records which examples were trained"):
        shop.train()
    assert shop.names("inbox") == ["b.jsonl"]


def test_a_run_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="is not a directory"):
        BatchLog(str(tmp_path / "run")).record(FAILED)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_added_to_a_history_that_was_edited(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    shop.train()
    execute(str(shop.run), "UPDATE rows SET content = replace(content, '1', '2') WHERE number = 1")
    with pytest.raises(LedgerError, match=r"only it records which examples were trained: .*the history was edited"):
        BatchLog(str(shop.run)).record(FAILED)


@pytest.mark.parametrize(("free", "full"), [(0, True), (1 << 30, False)])
def test_a_ledger_that_cannot_be_written_is_an_error_that_names_a_full_disk(
    free: int, full: bool, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drop("a.jsonl", [1])
    shop.train()
    monkeypatch.setattr("audit.ledger.store.open_ledger", lambda run, write: open_ledger(run, False))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(LedgerError, match="cannot be written") as caught:
        BatchLog(str(shop.run)).record(FAILED)
    assert str(caught.value).endswith("the disk is full") == full


def test_on_a_full_disk_the_reserve_makes_room_for_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".audit").mkdir()
    log, reserve, append = BatchLog(str(tmp_path)), tmp_path / RESERVE, Ledger.append
    log.hold_reserve()
    assert reserve.stat().st_size >= 1 << 16

    def full(self: Ledger, event: Any, durable: bool = False) -> None:
        if reserve.exists():
            raise LedgerError("database or disk is full")
        append(self, event, durable)

    monkeypatch.setattr(Ledger, "append", full)
    assert log.try_to_record(FAILED) is None
    assert not reserve.exists()
    assert log.events() == [FAILED]


def test_where_no_room_can_be_made_it_is_said_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **keywords: object) -> None:
        raise LedgerError("database or disk is full")

    monkeypatch.setattr(Ledger, "append", full)
    os.makedirs(tmp_path / ".audit")
    assert BatchLog(str(tmp_path)).try_to_record(FAILED) == "database or disk is full"


def test_a_nearly_full_disk_gives_no_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".audit").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 18))
    BatchLog(str(tmp_path)).hold_reserve()
    assert list((tmp_path / ".audit").iterdir()) == []


@pytest.mark.parametrize("case", ["file", "directory", "link", "pipe", "garbage", "other tables", "no rights"])
def test_a_ledger_that_cannot_be_used_says_why(case: str, tmp_path: Path) -> None:
    ledger = tmp_path / ".audit" / "ledger.db"
    if case == "file":
        ledger.parent.write_text("")
    else:
        ledger.parent.mkdir()
    if case == "directory":
        ledger.mkdir()
    elif case == "link":
        ledger.symlink_to("/nowhere")
    elif case == "pipe":
        os.mkfifo(ledger)
    elif case == "garbage":
        ledger.write_bytes(b"SQLite format 3\0" + b"x" * 500)
    elif case == "other tables":
        connection = sqlite3.connect(ledger)
        connection.execute("CREATE TABLE t (x)")
        connection.close()
    elif case == "no rights":
        ledger.parent.chmod(0o500)
        if os.access(ledger.parent, os.W_OK):
            pytest.skip("root may write everywhere")

    with pytest.raises(LedgerError, match=r"^the ledger cannot be used, .*: /.*\.audit") as refused:
        BatchLog(str(tmp_path)).record(FAILED)
    assert "None" not in str(refused.value)


def test_the_name_of_a_run_is_its_own_and_stays(shop: Shop) -> None:
    log = BatchLog(str(shop.run))
    assert log.name() == ""
    shop.drop("a.jsonl", [1, 2, 3])
    shop.train()
    name = log.name()
    shop.drop("b.jsonl", [4, 5])
    shop.train()

    assert re.fullmatch(f"{shop.run.name}-[0-9a-f]{{8}}", name)
    assert name == log.name()
    ledger = shop.run / ".audit" / "ledger.db"
    ledger.unlink()
    log.record(FAILED)
    assert log.name() not in ("", name)
