"""Parts in each other's place are told by the checkpoint before; what training does to weights is not."""

import shutil
from pathlib import Path
from random import Random
from struct import pack

import pytest

import audit
from audit.judging.auditor import Auditor
from audit.judging.guard import consult
from audit.ledger.records import read_records
from audit.options import Options
from audit.testing.judging import check, report
from audit.testing.torch_files import FakeTensor
from tests.dcp import MODEL, make_sharded, write_shards
from tests.zero import PARTITION, make_zero

RULE = "weights/exchanged"


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def shards(run: Path, step: int) -> tuple[Path, Path]:
    place = run / f"checkpoint-{step}" / MODEL
    return place / "__0_0.distcp", place / "__1_0.distcp"


def partitions(run: Path, step: int) -> tuple[Path, Path]:
    place = run / f"checkpoint-{step}" / f"global_step{step}"
    return place / PARTITION.format(0), place / PARTITION.format(1)


def test_two_shards_that_were_exchanged(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200))
    swap(*shards(run, 200))

    (finding,) = check(str(run), RULE)

    assert finding.checkpoint == "checkpoint-200"
    assert finding.blocks_resume
    assert finding.message.startswith(f"{MODEL}/__0_0.distcp: model.embed.weight is in the place of another part")
    assert f"it continues that of {MODEL}/__1_0.distcp" in finding.message
    assert [item.rule for item in report(str(run)).findings] == [RULE]
    assert consult(str(run)).decision.checkpoint == "checkpoint-100"


def test_two_partitions_of_zero_3_that_were_exchanged(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", stage=3)
    swap(*partitions(run, 200))

    assert [item.rule for item in report(str(run)).findings] == [RULE]
    assert consult(str(run)).decision.checkpoint == "checkpoint-100"


def test_under_zero_2_the_partitions_themselves_say_it(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", stage=2)
    swap(*partitions(run, 200))

    assert [item.rule for item in report(str(run)).findings] == ["deepspeed/partition-mismatch"]


def test_the_one_after_an_exchanged_one_is_not_to_blame(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200, 300))
    swap(*shards(run, 200))

    assert [item.checkpoint for item in check(str(run), RULE)] == ["checkpoint-200"]
    assert consult(str(run)).decision.checkpoint == "checkpoint-300"


def test_nor_is_it_if_all_were_sealed_and_what_is_remembered_makes_no_difference(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200, 300))
    options = Options(settle_seconds=0)
    for _ in range(2):
        assert all(item.sealed for item in audit.verify(str(run), options).checkpoints)
    swap(*shards(run, 200))
    records = read_records(str(run), write=False)[0]

    for cache in (True, False):
        judged = Auditor(options._replace(cache=cache)).judge(str(run), records)
        assert [(item.rule, item.checkpoint) for item in judged.report.findings] == [(RULE, "checkpoint-200")]


def looked_at(run: Path) -> set[str]:
    """The parts that the outcome of the rule on checkpoint-300 rests on."""
    checkpoint = Auditor(Options(settle_seconds=0)).open(str(run)).checkpoints[2]
    assert checkpoint.watch is not None
    seen = checkpoint.watch.seen = set()
    assert checkpoint.exchanged == ()
    return seen


def test_what_is_remembered_of_a_checkpoint_rests_on_the_two_before_it(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200, 300))
    assert {"checkpoint-200", "checkpoint-300!previous"} <= looked_at(run)

    swap(*shards(run, 200))

    assert {"checkpoint-200", "checkpoint-200!seal", "checkpoint-200!previous", "checkpoint-100"} <= looked_at(run)


def test_sound_runs_pass(tmp_path: Path) -> None:
    assert check(str(make_sharded(tmp_path / "dcp", (100, 200, 300))), RULE) == []
    assert check(str(make_zero(tmp_path / "zero", (100, 200, 300), stage=3)), RULE) == []


def weights(seed: int, steps: int, rate: float, rows: int = 4) -> dict[str, FakeTensor]:
    """Three tensors of one shape after a random walk: ``rate`` may be larger than the weights themselves."""
    start = Random(seed)
    values = {name: [start.gauss(0, 1) for _ in range(8 * rows)] for name in "abc"}
    walk = Random(f"{seed} {rate}")
    for _ in range(steps):
        values = {name: [value + walk.gauss(0, rate) for value in row] for name, row in values.items()}
    return {f"model.{name}": FakeTensor("F32", (8, rows), pack(f"<{8 * rows}f", *row)) for name, row in values.items()}


@pytest.mark.parametrize("rate", [1e-3, 1.0, 30.0])
def test_weights_that_move_far_are_no_exchange(tmp_path: Path, rate: float) -> None:
    run = make_sharded(tmp_path / "run", (100, 200))
    for number, step in enumerate((100, 200)):
        shutil.rmtree(run / f"checkpoint-{step}" / MODEL)
        write_shards(run / f"checkpoint-{step}" / MODEL, weights(1, number + 1, rate), None)

    assert check(str(run), RULE) == []


def test_tensors_that_begin_as_zeros_or_ones_are_no_exchange(tmp_path: Path) -> None:
    """lora_B begins as zeros and a norm as ones: what was there before is the same in every place."""
    run = make_sharded(tmp_path / "run", (100, 200))
    for step, noise in ((100, 0.0), (200, 1.0)):
        shutil.rmtree(run / f"checkpoint-{step}" / MODEL)
        walk = Random(2)
        data = {
            f"model.{name}": FakeTensor(
                "F32", (8, 4), pack("<32f", *(begin + noise * walk.gauss(0, 1) for _ in range(32)))
            )
            for name, begin in (("lora_B.1", 0.0), ("lora_B.2", 0.0), ("norm.1", 1.0), ("norm.2", 1.0))
        }
        write_shards(run / f"checkpoint-{step}" / MODEL, data, None)

    assert check(str(run), RULE) == []


def test_the_entries_of_two_tensors_and_of_a_ring_of_three(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200))
    for step in (100, 200):
        shutil.rmtree(run / f"checkpoint-{step}" / MODEL)
    first, second = weights(1, 1, 1e-3), weights(1, 2, 1e-3)
    write_shards(run / "checkpoint-100" / MODEL, first, None)
    turned = dict(zip(second, [*list(second.values())[1:], next(iter(second.values()))], strict=True))
    write_shards(run / "checkpoint-200" / MODEL, turned, None)

    (finding,) = check(str(run), RULE)

    assert finding.message.endswith("it continues that of another tensor (and 5 more)")


def test_another_number_of_ranks_is_not_compared(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200))
    shutil.rmtree(run / "checkpoint-200" / MODEL)
    other = make_sharded(tmp_path / "other", (200,), world=4)
    shutil.copytree(other / "checkpoint-200" / MODEL, run / "checkpoint-200" / MODEL)

    assert check(str(run), RULE) == []


def test_at_quick_depth_nothing_is_known(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200))
    swap(*shards(run, 200))

    from audit.api import verify

    outcomes = verify(run, Options(depth="quick", settle_seconds=0)).outcomes
    assert {item.outcome.value for item in outcomes if item.rule == RULE} == {"not-applicable"}
