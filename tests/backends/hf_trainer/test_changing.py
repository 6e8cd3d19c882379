"""Settings that are changed between two batches: really in optimizer and schedule, before the first step."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import audit
from tests.backends.hf_trainer.continuous import Continuous, alive, examples, until

torch = pytest.importorskip("torch", reason="the extra hf is not installed")
pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from audit.errors import ConfigError  # noqa: E402
from audit_hf_trainer.training.changing import put  # noqa: E402
from tests.backends.hf_trainer.test_own_trainer import shop_of, text  # noqa: E402
from tests.backends.hf_trainer.test_train_together import LAUNCHERS, children_of  # noqa: E402

NEW = {"learning_rate": 0.5, "weight_decay": 0.25, "adam_beta1": 0.5, "adam_beta2": 0.75, "adam_epsilon": 1e-3}


def _optimizer(rate: float = 0.1, decay: float = 0.01) -> tuple[Any, Any]:
    decaying, plain = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [decaying], "weight_decay": decay}, {"params": [plain], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(3):
        optimizer.step()
        schedule.step()
    return optimizer, schedule


def test_every_setting_is_where_the_next_step_and_the_next_save_take_it_from() -> None:
    optimizer, schedule = _optimizer()

    put(optimizer, schedule, [{}, {}], NEW)

    assert (schedule.base_lrs, schedule.get_last_lr()) == ([0.5, 0.5], [0.125, 0.125])
    for group, decay in zip(optimizer.param_groups, (0.25, 0.0), strict=True):
        found = {key: group[key] for key in ("initial_lr", "lr", "weight_decay", "betas", "eps")}
        assert found == {"initial_lr": 0.5, "lr": 0.125, "weight_decay": decay, "betas": (0.5, 0.75), "eps": 1e-3}
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.1, 0.1]


def test_what_cannot_be_changed_is_refused() -> None:
    optimizer, schedule = _optimizer(decay=0.0)
    with pytest.raises(ConfigError, match="not known which parameters decay"):
        put(optimizer, schedule, [{}, {}], {"weight_decay": 0.1})
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ConfigError, match="a ReduceLROnPlateau sets the rate by itself"):
        put(optimizer, plateau, [{}, {}], {"learning_rate": 0.1})
    with pytest.raises(ConfigError, match="the optimizer has no betas"):
        put(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1), schedule, [{}], {"adam_beta1": 0.1})


def _begun(home: Path, launcher: Sequence[str] = ()) -> Continuous:
    shop = Continuous(home, arguments="learning_rate = 0.01\nweight_decay = 0.1", launcher=launcher)
    shop.drop("a.jsonl", examples(9, 1))
    shop.call()
    _change(shop)
    shop.drop("b.jsonl", examples(13, 2))
    return shop


def _change(shop: Continuous) -> None:
    text = shop.config.read_text()
    shop.config.write_text(
        text.replace("learning_rate = 0.01", "learning_rate = 0.02").replace("= 0.1\n", "= 0.2\n", 1)
    )
    assert "weight_decay = 0.2" in shop.config.read_text()


CHANGE = ("--change", "learning_rate", "--change", "weight_decay")


@pytest.mark.slow
def test_a_raised_rate_is_used_from_the_first_step_and_no_rule_finds_anything(tmp_path: Path) -> None:
    whole, cut = _begun(tmp_path / "whole"), _begun(tmp_path / "cut")

    assert "learning_rate is 0.02 from step 4 on" in whole.call(*CHANGE).stdout
    with cut.held(6, *CHANGE) as held:
        held.end_session()
    cut.call()

    assert whole.rates() == [0.01] * 3 + [0.02] * 4
    _check_changed(whole, cut)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_processes_change_it_and_killed_end_in_the_same_bits(tmp_path: Path) -> None:
    whole, cut = (_begun(tmp_path / name, LAUNCHERS["torchrun"]) for name in ("whole", "cut"))

    assert "learning_rate is 0.02 from step 3 on" in whole.call(*CHANGE).stdout
    with cut.held(4, *CHANGE) as held:
        workers = children_of(held.process.pid)  # each has a session of its own
        held.end_session()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        until(lambda: not any(map(alive, workers)))
    cut.call()

    assert whole.rates() == [0.01] * 2 + [0.02] * 2
    _check_changed(whole, cut)


@pytest.mark.slow
def test_a_trainer_of_trl_changes_it_and_killed_ends_in_the_same_bits(tmp_path: Path) -> None:
    both = []
    for name in ("whole", "cut"):
        shop = shop_of(tmp_path / name, "SFT, text", (9,), "learning_rate = 0.01\nweight_decay = 0.1")
        shop.call()
        _change(shop)
        shop.drop("1.jsonl", [text(1, row) for row in range(13)])
        both.append(shop)
    whole, cut = both

    assert "weight_decay is 0.2 from step 4 on" in whole.call(*CHANGE).stdout
    with cut.held(6, *CHANGE) as held:
        held.end_session()
    cut.call()

    assert whole.rates() == [0.01] * 3 + [0.02] * 4
    _check_changed(whole, cut)


def _check_changed(whole: Continuous, cut: Continuous) -> None:
    assert cut.state() == whole.state()
    report = audit.verify(str(cut.run))
    assert (report.verdict, report.findings) == ("sound", ())
    group = torch.load(cut.run / f"checkpoint-{cut.step}" / "optimizer.pt", weights_only=True)["param_groups"][0]
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.02, 0.02, 0.2)


@pytest.mark.slow
def test_without_the_word_the_message_names_it(tmp_path: Path) -> None:
    shop = _begun(tmp_path)

    said = shop.call().stdout

    assert "learning_rate is planned as 0.02, kept is 0.01" in said
    assert "--change puts the planned ones into effect" in said
    assert shop.rates() == [0.01] * 7
