"""files/shard-index-mismatch."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_tensors, make_run
from audit.testing.torch_files import FakeTensor
from tests.plugins.audit_rules.files.editing import INDEX, judged, shard

RULE = "files/shard-index-mismatch"
FIRST, SECOND, THIRD = (f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """One of three checkpoints of a sharded run."""
    run = make_run(tmp_path / "run", full=True)
    for step in (100, 200, 300):
        shard(Path(run, f"checkpoint-{step}"))
    return Path(run, "checkpoint-200")


def change_map(place: Path, change: Callable[[dict[str, str]], object]) -> None:
    document = json.loads((place / INDEX).read_text())
    change(document["weight_map"])
    (place / INDEX).write_text(json.dumps(document))


def move(weight_map: dict[str, str]) -> None:
    weight_map["model.norm.weight"] = next(n for n in (FIRST, SECOND) if n != weight_map["model.norm.weight"])


def test_a_tensor_in_another_shard_than_the_index_says(place: Path) -> None:
    change_map(place, move)
    (finding,) = judged(str(place.parent))
    assert (finding.rule, finding.checkpoint) == (RULE, "checkpoint-200")
    assert finding.message.startswith(f"{INDEX} says that model.norm.weight is in {finding.file}, but it is in model-")
    assert finding.blocks_resume


def test_a_tensor_that_no_shard_holds(place: Path) -> None:
    change_map(place, lambda weight_map: weight_map.update(ghost=FIRST))
    (finding,) = judged(str(place.parent))
    assert finding.message == f"{INDEX} says that ghost is in {FIRST}, but no shard holds it"


def test_a_tensor_that_the_index_does_not_name(place: Path) -> None:
    extra = FakeTensor("F32", (1,), bytes(4))
    edit_tensors(place / SECOND, lambda tensors: tensors.update(extra=extra))
    (finding,) = judged(str(place.parent))
    assert (finding.message, finding.file) == (f"{SECOND} holds extra, which the index does not name", INDEX)


def test_shards_of_two_saves_are_mixed(place: Path) -> None:
    (place / "model-00001-of-00002.safetensors").write_bytes((place / FIRST).read_bytes())
    (finding,) = judged(str(place.parent))
    assert finding.message == "shards of 2 groups are mixed: -of-00002 and -of-00003"


def test_a_shard_that_the_index_does_not_name(place: Path) -> None:
    change_map(place, lambda weight_map: [weight_map.pop(key) for key in list(weight_map) if weight_map[key] == THIRD])
    (finding,) = judged(str(place.parent))
    assert finding.message == f"{THIRD} is a shard that {INDEX} does not name"


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}'])
def test_an_index_without_a_map_is_no_index(place: Path, text: str) -> None:
    (place / INDEX).write_text(text)
    (finding,) = judged(str(place.parent))
    assert finding.message == f"{INDEX} has no weight_map, so it is not a shard index"


def test_an_index_that_names_nothing_is_one_only_where_there_is_no_shard_either(place: Path) -> None:
    for name in (FIRST, SECOND, THIRD):
        (place / name).unlink()
    assert not check(str(place.parent), RULE)  # the index names them: files/missing-shard
    (place / INDEX).write_text('{"weight_map": {}}')
    (finding,) = check(str(place.parent), RULE)
    assert finding.message == f"{INDEX} names no tensor, and there is no shard, so there are no weights"


def test_a_tensor_without_a_file_name_is_no_index(place: Path) -> None:
    (place / INDEX).write_text('{"weight_map": {"ghost": 1}}')
    (finding,) = judged(str(place.parent))
    assert finding.message == f"{INDEX} has a weight_map in which a tensor has no file name, so it is not a shard index"


def test_an_index_and_shards_that_agree_pass(place: Path) -> None:
    assert not judged(str(place.parent))


def test_a_missing_shard_explains_it(place: Path) -> None:
    (place / SECOND).unlink()
    assert [finding.rule for finding in judged(str(place.parent))] == ["files/missing-shard"]


def test_one_file_of_weights_needs_no_index(tmp_path: Path) -> None:
    run = make_run(tmp_path / "whole", full=True)
    assert outcome(run, RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE


def test_an_index_that_cannot_be_parsed_is_the_finding_of_another_rule(place: Path) -> None:
    (place / INDEX).write_text('{"weight_map": {')
    assert not check(str(place.parent), RULE)
    assert len(check(str(place.parent), "integrity/json")) == 1


def test_a_shard_of_which_only_a_placeholder_is_left_hides_no_tensor_in_the_wrong_one(place: Path) -> None:
    whole = json.loads((place / INDEX).read_text())["weight_map"]
    lost = whole[min(whole)]
    (place / lost).rename(place / f"{lost}.part_aa")
    other = max(name for name in whole if whole[name] != lost)
    wrong = next(shard for shard in (FIRST, SECOND, THIRD) if shard not in (lost, whole[other]))
    change_map(place, lambda weight_map: weight_map.update({other: wrong}))

    (finding,) = check(str(place.parent), RULE)

    assert finding.message == f"{INDEX} says that {other} is in {wrong}, but it is in {whole[other]}"
