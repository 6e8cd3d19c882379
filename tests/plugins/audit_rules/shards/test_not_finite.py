"""The values of sharded states are finite."""

from pathlib import Path
from struct import pack

from audit.testing.judging import check
from audit.testing.torch_files import FakeTensor
from tests import dcp
from tests.dcp import MODEL, make_sharded


def test_a_nan_in_one_shard(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    values = {
        f"model.{name}": FakeTensor("F32", shape, pack("<f", float("nan")) + bytes(4 * shape[0] * shape[1] - 4))
        for name, shape in dcp.SHAPES.items()
    }
    dcp._write(run / "checkpoint-200" / MODEL, values, None)

    (finding,) = check(str(run), "shards/not-finite")

    assert (finding.checkpoint, finding.file, finding.actual) == ("checkpoint-200", f"{MODEL}/__0_0.distcp", 3)


def test_finite_values_pass(tmp_path: Path) -> None:
    assert check(str(make_sharded(tmp_path / "run")), "shards/not-finite") == []
