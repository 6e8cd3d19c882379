"""Weights or moments of an older step in files that hold other things of this one."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from audit.testing.judging import check
from audit.testing.torch_files import FakeTensor
from tests.dcp import Value, make_whole, optimizer_at, weights_at

RULE = "shards/stale-part"
Wanted = Callable[[str], bool]
MOMENTS: Wanted = lambda name: ".exp_avg" in name  # noqa: E731
WEIGHTS: Wanted = lambda name: name.startswith("model.")  # noqa: E731
FIRST: Wanted = lambda name: name.endswith(".exp_avg")  # noqa: E731


def older(step: int, wanted: Wanted, rank: int | None = None, of: int = 200) -> dict[str, Value]:
    """What is of an older step in the checkpoint of ``step``: whole tensors, or the rows of one rank."""
    now, then = ({**weights_at(at), **optimizer_at(at)} for at in (step, of))
    found: dict[str, Value] = {}
    for name, value in now.items():
        old = then[name]
        if wanted(name) and isinstance(value, FakeTensor) and isinstance(old, FakeTensor):
            half = len(value.data) // 2
            new = [value.data[:half], value.data[half:]]
            was = [old.data[:half], old.data[half:]]
            data = b"".join(was[place] if rank in (None, place) else new[place] for place in (0, 1))
            found[name] = value._replace(data=data)
    return found


def run_with(path: Path, extra: Callable[[int], Mapping[str, Value]]) -> str:
    def more(step: int) -> dict[str, Value]:
        return {"train_state.step": float(step), **extra(step)}  # so that no file is equal as a whole

    return str(make_whole(path / "run", extra=more))


CASES: dict[str, tuple[Wanted, int | None]] = {
    "the weights of all 3 parameters": (WEIGHTS, None),
    "the weights of process 1": (WEIGHTS, 1),
    "the exp_avg of all 3 parameters": (MOMENTS, None),
    "the exp_avg of process 0": (FIRST, 0),
}


@pytest.mark.parametrize("what", CASES)
def test_a_part_of_an_older_step(tmp_path: Path, what: str) -> None:
    wanted, rank = CASES[what]
    run = run_with(tmp_path, lambda step: older(step, wanted, rank) if step == 300 else {})

    (finding,) = check(run, RULE)
    assert finding.message == f".metadata: {what} are byte for byte those of step-200"
    assert (finding.checkpoint, finding.blocks_resume) == ("step-300", True)


def test_parts_of_their_own_step_pass(tmp_path: Path) -> None:
    assert check(run_with(tmp_path, lambda step: {}), RULE) == []


def test_weights_that_stay_at_rate_0_pass(tmp_path: Path) -> None:
    def extra(step: int) -> dict[str, Value]:
        rates: dict[str, Value] = {f"optimizer.param_groups.{group}.lr": 0.0 for group in (0, 1)}
        return {**older(step, WEIGHTS, of=100), **rates}

    assert check(run_with(tmp_path, extra), RULE) == []


def test_moments_that_are_zero_pass(tmp_path: Path) -> None:
    def extra(step: int) -> dict[str, Value]:
        return {name: value._replace(data=bytes(len(value.data))) for name, value in optimizer_at(step).items()
                if MOMENTS(name) and isinstance(value, FakeTensor)}  # fmt: skip

    assert check(run_with(tmp_path, extra), RULE) == []


def test_one_rank_without_a_gradient_passes(tmp_path: Path) -> None:
    def extra(step: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name, value in optimizer_at(step).items():
            if MOMENTS(name) and isinstance(value, FakeTensor):
                half = len(value.data) // 2
                found[name] = value._replace(data=value.data[:half] + bytes(half))
        return {**found, **older(step, WEIGHTS, 1, of=100)}

    assert check(run_with(tmp_path, extra), RULE) == []
