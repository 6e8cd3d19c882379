"""The disk fails at any single act of the audit: one line says so, and once there is room, all is trained."""

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.ledger.store import Ledger, LedgerError
from tests.audit.training.conftest import Shop

OF_THE_SYSTEM = ("link", "rename", "replace", "unlink", "mkdir", "rmdir", "open", "scandir", "listdir", "utime")
OF_THE_LEDGER = ("append", "remember", "forget")
ACTS = (*((Ledger, name) for name in OF_THE_LEDGER), *((os, name) for name in OF_THE_SYSTEM))


class Full:
    """Fails the act whose turn it is, and all that come after it if ``from_then_on``. The backend's acts go well."""

    def __init__(self, number: int, from_then_on: bool, code: int) -> None:
        self.left: int | None = number
        self.from_then_on, self.code = from_then_on, code
        self.failed: list[str] = []
        self.spared = False

    def refuse(self, owner: Any, name: str) -> None:
        if self.left is None or self.spared:
            return
        self.left -= 1
        if self.left >= 0:
            return
        if not self.from_then_on:
            self.left = None
        self.failed.append(name)
        if owner is Ledger:
            raise LedgerError("ledger.db: database or disk is full")
        raise OSError(self.code, os.strerror(self.code), name)


@contextmanager
def failing(full: Full, shop: Shop, acts: Any = ACTS) -> Iterator[None]:
    def around(owner: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **keywords: Any) -> Any:
            full.refuse(owner, name)
            return function(*arguments, **keywords)

        return act

    train = shop.backend.train

    def spared(*arguments: Any) -> Any:
        full.spared = True
        try:
            return train(*arguments)
        finally:
            full.spared = False

    with ExitStack() as stack:
        for owner, name in acts:
            stack.enter_context(mock.patch.object(owner, name, around(owner, name, getattr(owner, name))))
        stack.enter_context(mock.patch.object(shop.backend, "train", spared))
        yield


def life(home: str, full: Full, acts: Any = ACTS) -> Shop:
    """Three batches, one of them to be trained again after a step back; the disk fails once on the way."""
    shop = Shop(Path(home), toy="save_steps = 2\nlimit = 3")
    names = random.Random(1).sample(range(1000), 20)
    for number, part in enumerate((names[:5], names[5:12])):
        shop.drop(f"{number}.jsonl", part)
    shop.train()
    newest = max(shop.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "optimizer.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    shop.drop("2.jsonl", names[12:])
    shop.drop("3.jsonl", names[:5])
    (shop.inbox / "4.jsonl").write_text('{"input_ids": "no"}\n')
    with failing(full, shop, acts), suppress(AuditError):  # anything else is a traceback, for the user
        shop.train()
    with suppress(AuditError):
        shop.train()
    shop.train()
    assert sorted(shop.trained()) == sorted(names), full.failed
    assert shop.names("inbox") == [], full.failed
    done, rejected = ([name for name in shop.names(place) if name[0] != "."] for place in ("done", "rejected"))
    assert done == ["0.jsonl", "1.jsonl", "2.jsonl"], full.failed
    assert rejected == ["3.jsonl", "4.jsonl"], full.failed
    assert verify(str(shop.run)).verdict == "sound", full.failed
    return shop


def each_act(step: int, from_then_on: bool, code: int = errno.ENOSPC) -> None:
    for number in range(step // 2, 4000, step):
        full = Full(number, from_then_on, code)
        with tempfile.TemporaryDirectory() as home:
            life(home, full)
        if not full.failed:
            return
    pytest.fail("no call ever came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("from_then_on", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.EROFS], ids=errno.errorcode.get)
def test_a_disk_that_fails_at_any_act_costs_nothing(code: int, from_then_on: bool) -> None:
    each_act(1, from_then_on, code)


@pytest.mark.parametrize("from_then_on", [False, True], ids=["once", "from then on"])
def test_a_disk_that_fails_at_some_acts_costs_nothing(from_then_on: bool) -> None:
    each_act(149, from_then_on)
