"""Moments that are zero and cannot be, whole or in the part of one rank; and zeros that training leaves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.testing.judging import check
from audit.testing.runs import edit_optimizer, make_run
from audit.testing.torch_files import FakeTensor
from tests.dcp import Value, make_whole, optimizer_at

RULE = "optimizer/emptied-moments"
SOME = "optimizer.state.layers.0.weight."
FIRSTS, SECONDS = (".exp_avg",), (".exp_avg_sq",)
Edit = Callable[[Mapping[str, Value]], Mapping[str, Value]]


def emptied(names: tuple[str, ...], rank: int | None = None, within: str = "") -> Edit:
    """Make zeros of all that ends in one of ``names``, of the rows of one of the two ranks only."""

    def edit(state: Mapping[str, Value]) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        for name, tensor in state.items():
            if name.endswith(names) and name.startswith(within):
                assert isinstance(tensor, FakeTensor)
                half = len(tensor.data) // 2
                parts = [tensor.data[:half], tensor.data[half:]]
                zeros = [bytes(half) if rank in (None, place) else part for place, part in enumerate(parts)]
                found[name] = tensor._replace(data=b"".join(zeros))
        return found

    return edit


def run_with(path: Path, *edits: tuple[int, Edit]) -> str:
    changes = dict(edits)
    return str(
        make_whole(path / "run", extra=lambda step: changes[step](optimizer_at(step)) if step in changes else {})
    )


LOST: dict[str, Edit] = {
    "zeros alone in the exp_avg of all parameters, and values in exp_avg_sq": emptied(FIRSTS),
    "zeros alone in the exp_avg_sq of all parameters, and values in exp_avg": emptied(SECONDS),
    "in exp_avg_sq of parameter layers.0.weight, and values in its exp_avg": emptied(SECONDS, within=SOME),
    "zeros alone in exp_avg_sq of parameter embed.weight, and values in its exp_avg": emptied(SECONDS, rank=1),
    "and had values in the checkpoint before (and 2 more parts)": emptied(FIRSTS, rank=1),
    "and had values in the checkpoint before (and 5 more parts)": emptied((*FIRSTS, *SECONDS), rank=0),
    "of parameter layers.0.weight, and had values in the checkpoint": emptied((*FIRSTS, *SECONDS), within=SOME),
}


@pytest.mark.parametrize(("what", "edit"), LOST.items(), ids=LOST)
def test_zeros_that_cannot_be(tmp_path: Path, what: str, edit: Edit) -> None:
    (finding,) = check(run_with(tmp_path, (300, edit)), RULE)

    assert what in finding.message
    assert (finding.checkpoint, finding.blocks_resume) == ("step-300", True)


BEFORE: dict[str, Edit] = {
    "a parameter without a gradient": emptied((*FIRSTS, *SECONDS), within=SOME),
    "rows of an embedding that no example has": emptied((*FIRSTS, *SECONDS), rank=1),
    "a first moment that has faded": emptied(FIRSTS, within=SOME),
    "no zeros": emptied(()),
}


@pytest.mark.parametrize("edit", BEFORE.values(), ids=BEFORE)
def test_zeros_that_were_there_before_pass(tmp_path: Path, edit: Edit) -> None:
    assert check(run_with(tmp_path, *((step, edit) for step in (100, 200, 300))), RULE) == []


def test_a_first_moment_that_has_faded_passes(tmp_path: Path) -> None:
    steps = (100, 2000)
    run = make_whole(
        tmp_path / "run", steps, lambda step: emptied(FIRSTS, within=SOME)(optimizer_at(step)) if step > 100 else {}
    )
    assert check(str(run), RULE) == []


def test_without_a_factor_the_first_moment_is_the_last_gradient(tmp_path: Path) -> None:
    def edit(state: Mapping[str, Value]) -> Mapping[str, Value]:
        rates: dict[str, Value] = {f"optimizer.param_groups.{group}.betas": [0.0, 0.999] for group in (0, 1)}
        return {**emptied(FIRSTS)(state), **rates}

    assert check(run_with(tmp_path, *((step, edit) for step in (100, 200, 300))), RULE) == []


def test_one_optimizer_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert check(run, RULE) == []

    def edit(value: dict[str, Any]) -> None:
        for entry in value["state"].values():
            entry["exp_avg"] = entry["exp_avg"]._replace(data=bytes(len(entry["exp_avg"].data)))

    edit_optimizer(Path(run, "checkpoint-300"), edit)

    (finding,) = check(run, RULE)
    assert finding.message == "optimizer.pt has zeros alone in the exp_avg of all parameters, and values in exp_avg_sq"


def test_a_buffer_of_momentum(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for step in (100, 200, 300):

        def edit(value: dict[str, Any], step: int = step) -> None:
            for number, entry in value["state"].items():
                kept = entry["exp_avg"]
                zeros = step == 300 and number == 1
                entry.clear()
                entry["momentum_buffer"] = kept._replace(data=bytes(len(kept.data))) if zeros else kept
            for group in value["param_groups"]:
                group["momentum"] = 0.9

        edit_optimizer(Path(run, f"checkpoint-{step}"), edit)

    (finding,) = check(run, RULE)
    assert "in momentum_buffer of parameter 1, and had values in the checkpoint before" in finding.message
