"""What scripts give to ``dcp.save``: states as torch makes them, saved by torch and judged."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import guard, verify
from tests.accelerate import settle

torch = pytest.importorskip("torch", reason="the extra hf is not installed")
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Train a small model and save what ``what(model, optimizer)`` returns, as ``name`` with the step."""
    import torch.distributed.checkpoint as dcp

    def made(what: Callable[[Any, Any], dict[str, Any]], name: str = "step-{}", steps: int = 3, every: int = 2) -> Path:
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(1, steps * every + 1):
            model(torch.randn(2, 4)).pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % every == 0:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # torch says that no process group is there
                    dcp.save(what(model, optimizer), checkpoint_id=str(tmp_path / name.format(step)), no_dist=True)
        settle(tmp_path)
        return tmp_path

    return made


def both(model: Any, optimizer: Any) -> dict[str, Any]:
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def test_the_optimizers_own_state_dict_numbers_its_parameters(save: Save) -> None:
    report = verify(save(both))
    assert (report.verdict, report.findings, report.resume_from) == ("sound", (), "step-6")


def test_a_mask_and_the_best_loss_may_be_infinite(save: Save) -> None:
    def what(model: Any, optimizer: Any) -> dict[str, Any]:
        saved = both(model, optimizer)
        saved["model"]["mask"] = torch.full((2, 2), float("-inf"))
        return {**saved, "best_loss": torch.tensor(float("inf"))}

    assert verify(save(what)).findings == ()


def test_a_nan_weight_is_found_all_the_same(save: Save) -> None:
    def what(model: Any, optimizer: Any) -> dict[str, Any]:
        saved = both(model, optimizer)
        saved["model"]["0.weight"] = saved["model"]["0.weight"] * float("nan")
        return saved

    assert {finding.rule for finding in verify(save(what)).findings} == {"weights/not-finite"}


def test_two_optimizers_are_not_judged(save: Save) -> None:
    report = verify(save(lambda model, optimizer: {**both(model, optimizer), "other": optimizer.state_dict()}))
    assert [item.judged for item in report.checkpoints] == [False] * 3


def test_weights_alone_are_no_checkpoint_to_resume_from(save: Save) -> None:
    """torchtitan's last save. dcp.load stops: Missing key in checkpoint state_dict."""
    run = save(both)
    save(lambda model, optimizer: {"model": model.state_dict()}, steps=1, every=8)

    report = verify(run)
    assert (report.verdict, [finding.rule for finding in report.findings]) == ("sound", ["files/weights-only"])
    assert guard(run) == run / "step-6"


def test_names_that_count_batches_are_no_mismatch(save: Save) -> None:
    """Four batches for each update, in all checkpoints."""
    run = save(both)
    for step in (6, 4, 2):
        (run / f"step-{step}").rename(run / f"step-{4 * step}")
    assert verify(run).findings == ()


def test_an_optimizer_that_began_anew_shows_where_names_count_epochs(save: Save) -> None:
    run = save(both, "epoch_{}")
    for number in (2, 4, 6):
        (run / f"epoch_{number}").rename(run / f"epoch_{number // 2 - 1}")
    again = save(both, "again-{}", steps=1, every=1)
    (again / "again-1").rename(run / "epoch_3")

    assert "epoch_3" not in [item.name for item in verify(run).checkpoints if item.resumable]
