"""The values of sharded states are finite."""

from pathlib import Path
from struct import pack

from audit.testing.judging import check
from audit.testing.torch_files import FakeTensor
from tests import dcp
from tests.dcp import MODEL, OPTIMIZER, make_sharded

NAN = pack("<f", float("nan"))


def test_a_nan_in_what_is_neither_weight_nor_moment(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    dcp.write_shards(
        run / "checkpoint-200" / OPTIMIZER, {"ema.weight": FakeTensor("F32", (4, 4), NAN + bytes(60))}, None
    )

    (finding,) = check(str(run), "shards/not-finite")

    assert (finding.checkpoint, finding.file, finding.actual) == ("checkpoint-200", f"{OPTIMIZER}/__0_0.distcp", 1)
    assert finding.blocks_resume


def test_weights_are_those_of_another_rule(tmp_path: Path) -> None:
    """It spares masks, which are infinite by design."""
    run = make_sharded(tmp_path / "run")
    values = {
        f"model.{name}": FakeTensor("F32", shape, NAN + bytes(4 * shape[0] * shape[1] - 4))
        for name, shape in dcp.SHAPES.items()
    }
    dcp.write_shards(run / "checkpoint-200" / MODEL, values, None)

    assert check(str(run), "shards/not-finite") == []
    assert check(str(run), "weights/not-finite")


def test_finite_values_pass(tmp_path: Path) -> None:
    assert check(str(make_sharded(tmp_path / "run")), "shards/not-finite") == []


def test_a_number_of_a_script_may_be_infinite_where_the_state_of_the_optimizer_is_understood(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    values: dict[str, dcp.Value] = {
        "best": FakeTensor("F32", (), NAN),
        "ema.weight": FakeTensor("F32", (4, 4), NAN + bytes(60)),
    }
    dcp.write_state(run / "checkpoint-200", 200, extra=values)

    (finding,) = check(str(run), "shards/not-finite")

    assert finding.message == f"{OPTIMIZER}/__0_0.distcp has NaN or infinite values in 1 parts, first in ema.weight"
