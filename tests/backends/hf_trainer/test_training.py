"""Legs of the real Trainer: in order, whole, and to the bit the same however they are cut."""

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegData, LegRequest, LegResult
from audit.errors import AuditError, ConfigError
from audit_hf_trainer.plugin import HFTrainer
from tests.backends.hf_trainer.fitting import data_file, rows

ARGUMENTS = {"per_device_train_batch_size": 4, "save_steps": 2, "learning_rate": 1e-2, "lr_scheduler_type": "cosine"}
ADAPTER = {"r": 4, "lora_dropout": 0.2}
FIRST = [row["input_ids"] for row in rows(16, seed=1)]
SECOND = [row["input_ids"] for row in rows(24, seed=2)]


def leg(
    run: Path,
    after: int,
    last: int,
    examples: list[list[int]],
    tell: Any = lambda event: None,
    options: Any = None,
    **tables: Any,
) -> LegResult:
    resume = str(run / f"checkpoint-{after}") if after else None
    path = data_file(str(run.parent / f"{run.name}.jsonl"), examples)
    settings = {"model": {"random": {}}, "adapter": ADAPTER, "arguments": ARGUMENTS, **tables}
    wanted = {name: table for name, table in settings.items() if table is not None}
    request = LegRequest(str(run), resume, after, last, LegData(path, options=options or {}), wanted, horizon=30)
    return HFTrainer().train(request, tell)


def digests(checkpoint: Path) -> dict[str, str]:
    names = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
    return {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(autouse=True)
def _libraries() -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")


def test_two_batches_cut_in_the_middle_end_in_the_same_bytes(tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    assert leg(straight, 0, 4, FIRST)[:2] == (0, 4)
    assert leg(straight, 4, 10, SECOND)[:2] == (4, 10)

    leg(cut, 0, 2, FIRST)
    leg(cut, 2, 4, FIRST[8:])
    leg(cut, 4, 8, SECOND)
    leg(cut, 8, 10, SECOND[16:])

    assert digests(cut / "checkpoint-10") == digests(straight / "checkpoint-10")
    assert digests(cut / "checkpoint-4") == digests(straight / "checkpoint-4")


def test_a_leg_logs_only_its_own_losses_and_saves_at_its_end(tmp_path: Path) -> None:
    leg(tmp_path, 0, 3, FIRST)
    result = leg(tmp_path, 3, 6, SECOND)

    assert [step for step, _ in result.losses] == [4, 5, 6]
    assert (tmp_path / "checkpoint-6" / "trainer_state.json").exists()


def test_a_new_batch_is_trained_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    from audit_hf_trainer.training import data

    collate = data.collate

    def noting(batch: list[dict[str, list[int]]], pad_id: int) -> Any:
        seen.extend(list(row["input_ids"]) for row in batch)
        return collate(batch, pad_id)

    leg(tmp_path, 0, 3, FIRST[:12])  # 3 steps, of which Trainer would skip as many of the next batch
    monkeypatch.setattr(data, "collate", noting)
    leg(tmp_path, 3, 9, SECOND)

    assert seen == SECOND


def test_a_leg_without_an_adapter_trains_the_whole_model(tmp_path: Path) -> None:
    leg(tmp_path, 0, 2, FIRST[:8], adapter=None)
    assert (tmp_path / "checkpoint-2" / "model.safetensors").exists()


def test_save_steps_may_change_between_legs(tmp_path: Path) -> None:
    leg(tmp_path, 0, 2, FIRST)
    leg(tmp_path, 2, 6, SECOND, arguments={**ARGUMENTS, "save_steps": 3})
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{step}" for step in (2, 3, 6)]


def test_rows_of_unlike_length_are_padded(tmp_path: Path) -> None:
    result = leg(tmp_path, 0, 1, [[1, 2, 3], [4, 5, 6, 7, 8], [9, 10], [11, 12, 13, 14]])
    assert result.last_step == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_in_progress_and_the_result_says_so(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerCallback

    before = signal.getsignal(number)
    sent: list[int] = []

    def send_once(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == 2 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainerCallback, "on_step_begin", send_once)
    result = leg(tmp_path, 0, 4, FIRST)

    assert (result.last_step, result.stopped_by) == (3, number)
    assert (tmp_path / "checkpoint-3" / "trainer_state.json").exists()
    assert signal.getsignal(number) is before


def test_an_argument_that_trainer_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_ratio"):
        leg(tmp_path, 0, 1, FIRST, arguments={"learning_ratio": 1, "lr_scheduler_type": "constant"})


def test_an_adapter_field_that_peft_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rank"):
        leg(tmp_path, 0, 1, FIRST, adapter={"rank": 4})


def test_a_checkpoint_without_a_state_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    with pytest.raises(AuditError, match=r"trainer_state\.json"):
        leg(tmp_path, 4, 8, SECOND)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    leg(tmp_path, 0, 2, FIRST)
    assert capfd.readouterr() == ("", "")


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(AuditError, match=r"peft.*pip install 'checkpoint-audit\[hf\]'"):
        leg(tmp_path, 0, 1, FIRST)
