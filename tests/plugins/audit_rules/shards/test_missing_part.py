"""Parts of a state that all other checkpoints of the run have, and this one has not."""

from collections.abc import Mapping
from pathlib import Path

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from tests.dcp import Value, make_sharded, make_whole

RULE = "shards/missing-part"


def with_parts(at: Mapping[int, tuple[str, ...]], path: Path) -> str:
    def extra(step: int) -> dict[str, Value]:
        return {f"{part}.step": float(step) for part in at.get(step, ("train_state", "loader"))}

    return str(make_whole(path / "run", extra=extra))


def test_a_part_that_all_others_have(tmp_path: Path) -> None:
    (finding,) = check(with_parts({300: ("train_state",)}, tmp_path), RULE)

    assert finding.message == ".metadata names no loader, and all 2 other checkpoints have it"
    assert (finding.checkpoint, finding.file, finding.blocks_resume) == ("step-300", ".metadata", True)


def test_what_began_later_or_has_other_names_inside_passes(tmp_path: Path) -> None:
    assert check(with_parts({300: ("train_state", "loader", "average")}, tmp_path), RULE) == []

    def extra(step: int) -> dict[str, Value]:
        workers: dict[str, Value] = {f"loader.worker_{number}": 1.0 for number in range(1, step // 100)}
        return {**workers, "loader.epoch": 1.0}

    run = make_whole(tmp_path / "other", extra=lambda step: extra(500 - step))
    assert check(str(run), RULE) == []


def test_a_part_of_half_of_the_run_is_not_owed(tmp_path: Path) -> None:
    assert check(with_parts({100: (), 300: ()}, tmp_path), RULE) == []


def test_one_other_checkpoint_proves_nothing(tmp_path: Path) -> None:
    run = make_whole(tmp_path / "run", (100, 200), lambda step: {"loader.step": 1.0} if step == 100 else {})
    assert outcome(str(run), RULE, "step-200").outcome is Outcome.NOT_APPLICABLE


def test_trainer_has_a_directory_for_each_state(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run", (100, 200, 300))
    assert outcome(str(run), RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE
