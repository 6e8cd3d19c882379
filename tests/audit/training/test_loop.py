"""One call of `audit train`: batch after batch, one at a time, and the exit code in the end."""

import signal
from typing import Any

import pytest

from audit.errors import AuditError
from audit.retention.lock import RunLock
from audit.training.config import read_train_config
from audit.training.loop import TrainOptions, train
from audit.training.training_process import Stopped
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import POISON


def test_nothing_to_train_is_fine(shop: Shop) -> None:
    assert shop.train() == 0
    assert shop.events == [{"event": "nothing", "inbox": str(shop.home / "inbox")}]


def test_what_is_never_trained_is_named_with_its_reason(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    (shop.home / "inbox" / "B.JSONL").write_text("{}\n")
    assert shop.train() == 0

    assert [item for item in shop.events if item["event"] in ("ignored", "nothing")] == [
        {"event": "ignored", "file": "B.JSONL", "reason": "capitals count in data.pattern; rename it to b.jsonl"}
    ]


def test_only_one_process_trains_a_run(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    with RunLock(str(shop.run), "trained"), pytest.raises(AuditError, match="is being trained"):
        shop.train()


def test_the_exit_code_says_what_became_of_the_files(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    assert shop.train() == 0
    shop.drop("b.jsonl", [POISON])
    shop.drop("c.jsonl", [3, 4])
    assert shop.train() == 1
    shop.drop("d.jsonl", [5, 6, 7])
    shop.backend.stop_after = 3
    assert shop.train() == 128 + signal.SIGTERM


@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt()], ids=["SIGTERM", "SIGINT"])
def test_a_signal_while_nothing_is_half_done_ends_the_call(error: BaseException, shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)

    def run_leg(*arguments: Any) -> Any:
        raise error

    def call() -> int:
        return train(config, trainer, shop.registry, shop.emit, TrainOptions(), run_leg)

    if isinstance(error, Stopped):
        assert call() == 128 + signal.SIGTERM
    else:
        with pytest.raises(KeyboardInterrupt):
            call()
    assert shop.names("inbox")[-1] == "a.jsonl"
    assert shop.train() == 0


def test_what_a_backend_tells_names_the_file_as_the_user_knows_it(shop: Shop) -> None:
    from audit.backend.training import LegRequest, LegResult, Note, Tell

    train_leg = shop.backend.train

    def noting(request: LegRequest, tell: Tell) -> LegResult:
        assert "/.held-" in request.data.path
        tell(Note(f"{request.data.path}: odd"))
        return train_leg(request, tell)

    shop.backend.train = noting  # type: ignore[method-assign]
    path = shop.drop("a.jsonl", [1, 2])
    shop.train()
    assert shop.said("note") == [{"event": "note", "text": f"{path}: odd", "file": "a.jsonl"}]
